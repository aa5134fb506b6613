//! Which instructions neither read nor write the state that is slow to exchange: x87, vector and mask registers, their
//! control words, and the base of `fs`.

use iced_x86::{Code, CpuidFeature, FlowControl, Instruction, Mnemonic, Register};

/// Features whose instructions use general registers, flags and memory only. The decoder lists each instruction with
/// all features that it needs: `fcmovb` has FPU and CMOV. The features of x87, MMX and later vector sets are not in
/// this list.
const GENERAL_FEATURES: [CpuidFeature; 31] = [
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::ADX,
    CpuidFeature::BMI1,
    CpuidFeature::BMI2,
    CpuidFeature::CET_IBT,
    CpuidFeature::CLDEMOTE,
    CpuidFeature::CLFLUSHOPT,
    CpuidFeature::CLFSH,
    CpuidFeature::CLWB,
    CpuidFeature::CMOV,
    CpuidFeature::CMPXCHG16B,
    CpuidFeature::CPUID,
    CpuidFeature::CX8,
    CpuidFeature::LZCNT,
    CpuidFeature::MOVBE,
    CpuidFeature::MOVDIRI,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::PAUSE,
    CpuidFeature::POPCNT,
    CpuidFeature::PREFETCHW,
    CpuidFeature::RDPID,
    CpuidFeature::RDRAND,
    CpuidFeature::RDSEED,
    CpuidFeature::RDTSCP,
    CpuidFeature::SERIALIZE,
    CpuidFeature::TSC,
];

/// Whether an instruction neither reads nor writes any of that state; false for unknown instructions.
pub(crate) fn keeps_slow_state(instruction: &Instruction) -> bool {
    match instruction.code() {
        // These came with SSE but concern memory only.
        Code::Lfence | Code::Mfence | Code::Sfence => return true,
        Code::Prefetcht0_m8 | Code::Prefetcht1_m8 | Code::Prefetcht2_m8 | Code::Prefetchnta_m8 => return true,
        // `fwait` waits for the x87.
        Code::Wait => return false,
        _ => {}
    }
    // A load of the selector changes the base.
    let loads_fs = instruction.op0_register() == Register::FS || instruction.mnemonic() == Mnemonic::Lfs;
    // `int` may be a system call.
    let plain = instruction.flow_control() == FlowControl::Next && !loads_fs;
    plain && instruction.cpuid_features().iter().all(|feature| GENERAL_FEATURES.contains(feature))
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess};

    use super::*;

    /// Prefixes and opcode maps of machine code, up to the opcode: all maps except EVEX's, which has only vectors and
    /// masks.
    fn beginnings() -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for prefix in [&[][..], &[0x66], &[0xf2], &[0xf3], &[0x48], &[0x66, 0x48], &[0xf2, 0x48], &[0xf3, 0x48]] {
            for map in [&[][..], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]] {
                all.push([prefix, map].concat());
            }
        }
        for map in 1..=3 {
            // W, L and pp, with vvvv = 1111 and without.
            for rest in (0..=0xff).filter(|rest| [0x78, 0].contains(&(rest & 0x78))) {
                all.push(vec![0xc4, 0xe0 | map, rest]);
            }
        }
        all
    }

    /// The decoder's list of used registers is the reference.
    #[test]
    fn instructions_that_keep_slow_state_use_none_of_its_registers() {
        let mut factory = InstructionInfoFactory::new();
        let (mut alone, mut others) = (0, 0);
        for beginning in beginnings() {
            for (opcode, modrm) in (0..=0xff).flat_map(|o| (0..=0xff).step_by(4).map(move |m| (o, m))) {
                let mut bytes = beginning.clone();
                bytes.extend([opcode, modrm, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                let instruction = Decoder::new(64, &bytes, DecoderOptions::NONE).decode();
                if instruction.is_invalid() {
                    continue;
                }
                if !keeps_slow_state(&instruction) {
                    others += 1;
                    continue;
                }
                alone += 1;
                for used in factory.info(&instruction).used_registers() {
                    let register = used.register();
                    let vector = register.is_vector_register() || register.is_mm() || register.is_k();
                    let reads = matches!(used.access(), OpAccess::Read | OpAccess::CondRead);
                    let base = register == Register::FS && !reads;
                    assert!(!vector && !register.is_st() && !base, "{instruction} uses {register:?}");
                }
            }
        }
        assert!(alone > 50_000 && others > 50_000, "{alone} and {others}");
    }

    #[test]
    fn instructions_of_x87_vectors_and_the_fs_base_do_not_keep_slow_state() {
        for (bytes, alone) in [
            (&[0x48, 0x89, 0xc8][..], true),                // mov rax, rcx
            (&[0xf0, 0x48, 0x0f, 0xb1, 0x0a], true),        // lock cmpxchg [rdx], rcx
            (&[0xf3, 0x90], true),                          // pause
            (&[0x0f, 0xae, 0xe8], true),                    // lfence
            (&[0xf3, 0x48, 0xa5], true),                    // rep movsq
            (&[0xf3, 0x0f, 0x1e, 0xfa], true),              // endbr64
            (&[0xd9, 0xe8], false),                         // fld1
            (&[0x9b], false),                               // fwait
            (&[0xda, 0xc1], false),                         // fcmovb st0, st1
            (&[0x0f, 0x77], false),                         // emms
            (&[0x66, 0x0f, 0xef, 0xc0], false),             // pxor xmm0, xmm0
            (&[0x0f, 0xae, 0x11], false),                   // ldmxcsr [rcx]
            (&[0x48, 0x0f, 0xae, 0x01], false),             // fxsave64 [rcx]
            (&[0x48, 0x0f, 0xc7, 0x21], false),             // xsavec64 [rcx]
            (&[0x66, 0x48, 0x0f, 0x6e, 0xc0], false),       // movq xmm0, rax
            (&[0xc5, 0xf8, 0x77], false),                   // vzeroupper
            (&[0xc5, 0xf8, 0x92, 0xc8], false),             // kmovw k1, eax
            (&[0x62, 0xf2, 0x7d, 0x48, 0x7c, 0xc0], false), // vpbroadcastd zmm0, eax
            (&[0xf3, 0x48, 0x0f, 0xae, 0xd0], false),       // wrfsbase rax
            (&[0x8e, 0xe0], false),                         // mov fs, eax
            (&[0x0f, 0xa1], false),                         // pop fs
            (&[0x0f, 0x05], false),                         // syscall
            (&[0xcd, 0x80], false),                         // int 0x80
            (&[0x0f, 0x01, 0xef], false),                   // wrpkru
        ] {
            let instruction = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
            assert_eq!(keeps_slow_state(&instruction), alone, "{instruction}");
        }
    }
}
