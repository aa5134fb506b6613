//! Decodes an AV1 clip (IVF) with rav1d, as often as told, on one thread, and prints a sum of its pictures.

use std::process::exit;
use std::ptr::{self, NonNull};

use rav1d::include::dav1d::data::Dav1dData;
use rav1d::include::dav1d::dav1d::Dav1dSettings;
use rav1d::include::dav1d::picture::Dav1dPicture;
use rav1d::src::cpu::dav1d_set_cpu_flags_mask;
use rav1d::src::lib::{
    dav1d_close, dav1d_data_create, dav1d_default_settings, dav1d_get_picture, dav1d_open, dav1d_picture_unref,
    dav1d_send_data,
};

/// SSE2 to AVX2. Valgrind knows no AVX-512, and both runs of an audit must choose the same functions.
const CPU_FLAGS: u32 = 0b1111;
/// Bytes of the header of the file and of a frame.
const FILE_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;

fn fail(what: &str) -> ! {
    eprintln!("decode: {what}");
    exit(1)
}

fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file.get(FILE_HEADER_BYTES..).unwrap_or_default();
    let mut found = Vec::new();
    while rest.len() > FRAME_HEADER_BYTES {
        let size = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let Some(frame) = rest.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + size) else { break };
        found.push(frame);
        rest = &rest[FRAME_HEADER_BYTES + size..];
    }
    found
}

fn decode(frames: &[&[u8]]) -> (u32, u64) {
    let mut settings = std::mem::MaybeUninit::<Dav1dSettings>::uninit();
    let (mut pictures, mut sum) = (0, 0_u64);
    // SAFETY: the settings are written before they are read; the context is used between open and close; each buffer
    // is written within its size, and each picture is read within its height and stride and released once.
    unsafe {
        let at = NonNull::new_unchecked(settings.as_mut_ptr());
        dav1d_default_settings(at);
        (*at.as_ptr()).n_threads = 1;
        (*at.as_ptr()).max_frame_delay = 1;
        let mut context = None;
        if dav1d_open(Some(NonNull::from(&mut context)), Some(at)).0 != 0 {
            fail("the decoder does not open");
        }
        let mut drain = |sum: &mut u64| loop {
            let mut picture = std::mem::zeroed::<Dav1dPicture>();
            if dav1d_get_picture(context, Some(NonNull::from(&mut picture))).0 != 0 {
                break;
            }
            pictures += 1;
            let Some(luma) = picture.data[0] else { fail("a picture has no data") };
            for line in 0..picture.p.h as isize {
                let byte = luma.as_ptr().cast::<u8>().offset(line * picture.stride[0] + line % picture.p.w as isize);
                *sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
            }
            dav1d_picture_unref(Some(NonNull::from(&mut picture)));
        };
        for frame in frames {
            let mut data = Dav1dData::default();
            let buffer = dav1d_data_create(Some(NonNull::from(&mut data)), frame.len());
            if buffer.is_null() {
                fail("no memory");
            }
            ptr::copy_nonoverlapping(frame.as_ptr(), buffer, frame.len());
            while data.sz > 0 {
                let before = data.sz;
                let result = dav1d_send_data(context, Some(NonNull::from(&mut data))).0;
                drain(&mut sum);
                if result != 0 && data.sz == before {
                    fail("a frame cannot be decoded");
                }
            }
        }
        drain(&mut sum);
        dav1d_close(Some(NonNull::from(&mut context)));
    }
    (pictures, sum)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(Ok(times))) = (arguments.next(), arguments.next().map(|text| text.parse::<u32>())) else {
        fail("usage: decode CLIP.ivf TIMES");
    };
    let file = std::fs::read(&path).unwrap_or_else(|error| fail(&format!("{path}: {error}")));
    dav1d_set_cpu_flags_mask(CPU_FLAGS);
    let frames = frames(&file);
    for _ in 0..times {
        let (pictures, sum) = decode(&frames);
        println!("{pictures} pictures, sum {sum:016x}");
    }
}
