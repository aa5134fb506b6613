//! NOPs of every length.

/// The recommended multi-byte NOPs (Intel SDM volume 2B, "NOP", table 4-12); index 0 is one byte long.
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

/// Appends the fewest NOPs that bring `code` to `length` bytes.
pub fn pad(code: &mut Vec<u8>, length: usize) {
    while code.len() < length {
        let next = (length - code.len()).min(NOPS.len());
        code.extend_from_slice(NOPS[next - 1]);
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    #[test]
    fn padding_fills_every_length_with_the_fewest_nops() {
        for length in 0..64 {
            let mut code = Vec::new();
            super::pad(&mut code, length);
            assert_eq!(code.len(), length);
            let decoded: Vec<_> = Decoder::new(64, &code, DecoderOptions::NONE).into_iter().collect();
            assert!(decoded.iter().all(|i| i.mnemonic() == Mnemonic::Nop), "{length}: {code:02x?}");
            assert_eq!(decoded.len(), length.div_ceil(9));
        }
    }
}
