//! The signal of a bad access (`kernel/signal.c`, `arch/x86/kernel/signal.c`).

use super::entry::Call;
use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// Sends `SIGSEGV` for an access to `address`, delivers it to a handler and returns from the handler.
    ///
    /// # Errors
    /// Never fails; in a kernel, writing the signal's frame could.
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
        for (index, word) in self.machine.frame.iter_mut().enumerate().skip(2) {
            *word = address ^ index as u64;
        }
        // `rt_sigreturn` reads them back.
        self.enter(Call::Sigreturn, [0; 4]);
        let sum = self.machine.frame.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word));
        self.leave(std::hint::black_box(sum));
        Ok(())
    }
}
