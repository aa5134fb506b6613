//! Transfers of control, carried out on kept registers: every other instruction runs by itself.

use iced_x86::{Code, ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::switch::Registers;

/// `arch/x86/include/uapi/asm/prctl.h`
const ARCH_GET_GS: libc::c_int = 0x1004;

const RAX: usize = 0;
const RCX: usize = 1;
const RSP: usize = 4;

/// Whether an instruction ends a block: it may go elsewhere than to the next one. System calls and software interrupts
/// come back by themselves.
pub fn transfers(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::Next | FlowControl::Interrupt | FlowControl::Exception => false,
        FlowControl::Call => instruction.is_call_near() || instruction.is_call_far(),
        _ => true,
    }
}

/// Whether a system call, about to be made, returns twice: another thread or process goes on with what comes after it.
pub fn starts(registers: &Registers) -> bool {
    // The kernel reads the low half (`do_syscall_64`, arch/x86/entry/syscall_64.c).
    let number = i64::from(registers.general[RAX] as u32);
    [libc::SYS_clone, libc::SYS_clone3, libc::SYS_fork, libc::SYS_vfork].contains(&number)
}

/// Carries out a transfer of control and gives where it goes; `None` for those that no 64-bit program uses (far ones,
/// transactions).
///
/// # Safety
/// The registers are those of traced code that is about to execute the instruction.
pub unsafe fn transfer(instruction: &Instruction, registers: &mut Registers) -> Option<u64> {
    let next = instruction.next_ip();
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
            Some(instruction.near_branch_target())
        }
        FlowControl::ConditionalBranch => {
            let taken = taken(instruction, registers)?;
            Some(if taken { instruction.near_branch_target() } else { next })
        }
        FlowControl::Call if instruction.is_call_near() => {
            // SAFETY: the code would push there itself.
            unsafe { push(registers, next) };
            Some(instruction.near_branch_target())
        }
        FlowControl::IndirectBranch if instruction.is_jmp_near_indirect() => {
            // SAFETY: the code would read the same place.
            unsafe { target(instruction, registers) }
        }
        FlowControl::IndirectCall if instruction.is_call_near_indirect() => {
            // SAFETY: as above. The target is read first (Intel SDM volume 2, CALL).
            let target = unsafe { target(instruction, registers) }?;
            // SAFETY: as above.
            unsafe { push(registers, next) };
            Some(target)
        }
        // SAFETY: the code would pop these words itself.
        FlowControl::Return => unsafe { returned(instruction, registers) },
        _ => None,
    }
}

/// # Safety
/// As for [`transfer`].
unsafe fn push(registers: &mut Registers, value: u64) {
    registers.general[RSP] = registers.general[RSP].wrapping_sub(8);
    // SAFETY: the caller's.
    unsafe { (registers.general[RSP] as *mut u64).write_unaligned(value) };
}

/// # Safety
/// As for [`transfer`].
unsafe fn returned(instruction: &Instruction, registers: &mut Registers) -> Option<u64> {
    let top = registers.general[RSP] as *const u64;
    // SAFETY: the caller's.
    let to = unsafe { top.read_unaligned() };
    match instruction.mnemonic() {
        Mnemonic::Ret => {
            let arguments = if instruction.op_count() == 1 { instruction.immediate(0) } else { 0 };
            registers.general[RSP] = registers.general[RSP].wrapping_add(8).wrapping_add(arguments);
        }
        // Address, cs, flags, rsp, ss; in ring 3 both selectors are what they were. It leaves IF and IOPL alone, as the
        // `popfq` does that loads the flags.
        Mnemonic::Iretq => {
            // SAFETY: the caller's.
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
/// As for [`transfer`].
unsafe fn target(instruction: &Instruction, registers: &Registers) -> Option<u64> {
    let value = |register: Register| {
        let full = register.full_register();
        (full.is_gpr64() && full == register).then(|| registers.general[full.number()])
    };
    if instruction.op0_kind() == OpKind::Register {
        return value(instruction.op0_register());
    }
    let address = instruction.virtual_address(0, 0, |register, _, _| match register {
        Register::FS => Some(registers.fs),
        Register::GS => gs(),
        segment if segment.is_segment_register() => Some(0),
        general => value(general),
    })?;
    // SAFETY: the caller's.
    Some(unsafe { (address as *const u64).read_unaligned() })
}

/// The base of `gs`, which this program shares with the code it traces.
fn gs() -> Option<u64> {
    let mut base = 0u64;
    // SAFETY: writes one word.
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base) };
    (done == 0).then_some(base)
}

/// Whether a conditional branch is taken (Intel SDM volume 1, appendix B "EFLAGS Condition Codes").
fn taken(instruction: &Instruction, registers: &mut Registers) -> Option<bool> {
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
