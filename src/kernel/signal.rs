//! Signals (`kernel/signal.c`, `arch/x86/kernel/signal.c`), as far as the one that a bad access brings.

use super::entry::Call;
use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `SIGSEGV` for an access to `address`: sent, delivered to a handler, returned from.
    ///
    /// # Errors
    /// None today; a frame that cannot be written would be one.
    #[inline(never)]
    pub fn signal(&mut self, address: u64) -> Result<(), KernelError> {
        // `force_sig_info_to_task`
        let lock = &raw mut self.machine.sighand;
        let flags = self.spin_lock_irqsave(lock);
        self.machine.frame[0] = address;
        self.spin_unlock_irqrestore(lock, flags);
        // `get_signal`: `spin_lock_irq`
        self.irq_disable();
        self.spin_lock(lock);
        self.machine.frame[1] = 11;
        self.spin_unlock(lock);
        self.irq_enable();
        // `setup_rt_frame`: registers and the state of the FPU.
        for (place, word) in self.machine.frame.iter_mut().enumerate().skip(2) {
            *word = address ^ place as u64;
        }
        // `rt_sigreturn` reads them back.
        self.enter(Call::Sigreturn, [0; 4]);
        let sum = self.machine.frame.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word));
        self.leave(std::hint::black_box(sum));
        Ok(())
    }
}
