//! Emulated transfers of control on saved registers; every other instruction runs natively.

use iced_x86::{Code, ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::switch::Registers;

/// `arch/x86/include/uapi/asm/prctl.h`
const ARCH_GET_GS: libc::c_int = 0x1004;

const RAX: usize = 0;
const RCX: usize = 1;
const RSP: usize = 4;

/// Whether an instruction ends a block because the next instruction need not follow it. System calls and software
/// interrupts return to the next instruction.
pub(crate) fn is_transfer(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::Next | FlowControl::Interrupt | FlowControl::Exception => false,
        FlowControl::Call => instruction.is_call_near() || instruction.is_call_far(),
        _ => true,
    }
}

/// Whether the next system call returns twice: another thread or process continues after it.
pub(crate) fn starts_thread(registers: &Registers) -> bool {
    // The kernel reads the low half of `rax` (`do_syscall_64`, arch/x86/entry/syscall_64.c).
    let number = i64::from(registers.general[RAX] as u32);
    [libc::SYS_clone, libc::SYS_clone3, libc::SYS_fork, libc::SYS_vfork].contains(&number)
}

/// Emulates a transfer of control and returns its target. `None` for transfers that no 64-bit program uses (far ones,
/// transactions).
///
/// # Safety
/// The registers are those of traced code that is about to execute the instruction.
pub(crate) unsafe fn emulate_transfer(instruction: &Instruction, registers: &mut Registers) -> Option<u64> {
    let next = instruction.next_ip();
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
            Some(instruction.near_branch_target())
        }
        FlowControl::ConditionalBranch => {
            let taken = is_taken(instruction, registers)?;
            Some(if taken { instruction.near_branch_target() } else { next })
        }
        FlowControl::Call if instruction.is_call_near() => {
            // SAFETY: `push` needs a writable stack: the traced code is about to push its return address at the same
            // place.
            unsafe { push(registers, next) };
            Some(instruction.near_branch_target())
        }
        FlowControl::IndirectBranch if instruction.is_jmp_near_indirect() => {
            // SAFETY: `read_target` needs a readable operand: the traced code is about to read the same word.
            unsafe { read_target(instruction, registers) }
        }
        FlowControl::IndirectCall if instruction.is_call_near_indirect() => {
            // The target is read before the push (Intel SDM volume 2, CALL).
            // SAFETY: `read_target` needs a readable operand: the traced code is about to read the same word.
            let target = unsafe { read_target(instruction, registers) }?;
            // SAFETY: `push` needs a writable stack: the traced code is about to push its return address at the same
            // place.
            unsafe { push(registers, next) };
            Some(target)
        }
        // SAFETY: `emulate_return` needs a readable stack: the traced code is about to pop the same words.
        FlowControl::Return => unsafe { emulate_return(instruction, registers) },
        _ => None,
    }
}

/// # Safety
/// As for [`emulate_transfer`].
unsafe fn push(registers: &mut Registers, value: u64) {
    registers.general[RSP] = registers.general[RSP].wrapping_sub(8);
    // SAFETY: the traced code is about to write this word of its stack (caller's contract).
    unsafe { (registers.general[RSP] as *mut u64).write_unaligned(value) };
}

/// # Safety
/// As for [`emulate_transfer`].
unsafe fn emulate_return(instruction: &Instruction, registers: &mut Registers) -> Option<u64> {
    let top = registers.general[RSP] as *const u64;
    // SAFETY: the traced code is about to pop this word from its stack (caller's contract).
    let to = unsafe { top.read_unaligned() };
    match instruction.mnemonic() {
        Mnemonic::Ret => {
            let arguments = if instruction.op_count() == 1 { instruction.immediate(0) } else { 0 };
            registers.general[RSP] = registers.general[RSP].wrapping_add(8).wrapping_add(arguments);
        }
        // The stack holds address, cs, flags, rsp and ss. In ring 3 the selectors stay the same. `iretq` keeps IF and
        // IOPL, as does the `popfq` that loads the flags later.
        Mnemonic::Iretq => {
            // SAFETY: the traced code is about to pop all five words from its stack (caller's contract).
            unsafe {
                registers.flags = top.wrapping_add(2).read_unaligned();
                registers.general[RSP] = top.wrapping_add(3).read_unaligned();
            }
        }
        _ => return None,
    }
    Some(to)
}

/// # Safety
/// As for [`emulate_transfer`].
unsafe fn read_target(instruction: &Instruction, registers: &Registers) -> Option<u64> {
    let value = |register: Register| {
        let full = register.full_register();
        (full.is_gpr64() && full == register).then(|| registers.general[full.number()])
    };
    if instruction.op0_kind() == OpKind::Register {
        return value(instruction.op0_register());
    }
    let address = instruction.virtual_address(0, 0, |register, _, _| match register {
        Register::FS => Some(registers.fs),
        Register::GS => read_gs_base(),
        segment if segment.is_segment_register() => Some(0),
        general => value(general),
    })?;
    // SAFETY: the traced code is about to read its target from this address (caller's contract).
    Some(unsafe { (address as *const u64).read_unaligned() })
}

/// The value of a register that takes part in an address; `None` for a vector register.
pub(super) fn read_register(register: Register, registers: &Registers) -> Option<u64> {
    match register {
        Register::FS => Some(registers.fs),
        Register::GS => read_gs_base(),
        // Distances from the instruction are resolved already.
        Register::RIP | Register::EIP | Register::None => Some(0),
        segment if segment.is_segment_register() => Some(0),
        general if general.is_gpr64() => registers.general.get(general.number()).copied(),
        general if general.is_gpr32() => registers.general.get(general.number()).map(|value| value & 0xffff_ffff),
        _ => None,
    }
}

/// The base of `gs`, which traced code shares with this program.
fn read_gs_base() -> Option<u64> {
    let mut base = 0u64;
    // SAFETY: the system call writes one word, to a local variable that is large enough.
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base) };
    (done == 0).then_some(base)
}

/// Whether a conditional branch is taken (Intel SDM volume 1, appendix B "EFLAGS Condition Codes").
fn is_taken(instruction: &Instruction, registers: &mut Registers) -> Option<bool> {
    let flag = |bit: u32| registers.flags >> bit & 1 == 1;
    let (carry, parity, zero, sign, overflow) = (flag(0), flag(2), flag(6), flag(7), flag(11));
    let holds = match instruction.condition_code() {
        ConditionCode::o => overflow,
        ConditionCode::no => !overflow,
        ConditionCode::b => carry,
        ConditionCode::ae => !carry,
        ConditionCode::e => zero,
        ConditionCode::ne => !zero,
        ConditionCode::be => carry || zero,
        ConditionCode::a => !carry && !zero,
        ConditionCode::s => sign,
        ConditionCode::ns => !sign,
        ConditionCode::p => parity,
        ConditionCode::np => !parity,
        ConditionCode::l => sign != overflow,
        ConditionCode::ge => sign == overflow,
        ConditionCode::le => zero || sign != overflow,
        ConditionCode::g => !zero && sign == overflow,
        ConditionCode::None => true,
    };
    // The counting branches; `loope` and `loopne` have the conditions `e` and `ne`.
    let count = &mut registers.general[RCX];
    match instruction.code() {
        Code::Jrcxz_rel8_64 => Some(*count == 0),
        Code::Jecxz_rel8_64 => Some(*count as u32 == 0),
        Code::Loop_rel8_64_RCX | Code::Loope_rel8_64_RCX | Code::Loopne_rel8_64_RCX => {
            *count = count.wrapping_sub(1);
            Some(*count != 0 && holds)
        }
        _ if instruction.is_jcc_short_or_near() => Some(holds),
        _ => None,
    }
}
