"""Gets and builds the programs: from crates.io by cargo, from Debian by apt-get, and a clip and a text of our own."""

import os
import random
import re
import shutil
from pathlib import Path

from measure import Failed, run

HERE = Path(__file__).resolve().parent
# Versions of crates are those of the report; a newer one has other sites.
RIPGREP, RAV1D = "15.2.0", "1.1.0"
# Code as it is shipped, with the lines of the source.
RELEASE = {"CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only", "CARGO_PROFILE_RELEASE_STRIP": "false"}
TEXT_LINES, CLIP_FRAMES, CLIP_SIZE = 400_000, 24, (320, 180)
WORDS = ("the of kernel hook table call page fault vector driver reset status write read lock queue timer frame port "
         "chip error retry uart buffer Sherlock Holmes").split()


class Debian:
    """Packages of Debian, unpacked into a folder; nothing is installed."""

    def __init__(self, work):
        self.root, self.packages, self.versions = work / "debian", work / "packages", {}
        self.packages.mkdir(parents=True, exist_ok=True)

    def unpack(self, *names):
        for name in names:
            if not list(self.packages.glob(f"{name}_*.deb")):
                run(["apt-get", "download", name], cwd=self.packages)
            package = max(self.packages.glob(f"{name}_*.deb"))
            run(["dpkg", "-x", package, self.root])
            self.versions[name] = run(["dpkg-deb", "-f", package, "Version"]).decode().strip()
        return self.root

    def libraries(self):
        return {**os.environ, "LD_LIBRARY_PATH": str(self.root / "usr/lib/x86_64-linux-gnu")}


def ripgrep(work):
    """ripgrep as `cargo install` builds it, and a text to search."""
    folder = work / "ripgrep"
    program = folder / "bin/rg"
    if not program.exists():
        run(["cargo", "install", "ripgrep", "--version", RIPGREP, "--locked", "--root", folder, "--target-dir",
             work / "ripgrep-target"], env={**os.environ, **RELEASE})
    text, rng = work / "text.txt", random.Random(1)
    if not text.exists():
        lines = (f"{' '.join(rng.choice(WORDS) for _ in range(12))} {number:x}\n" for number in range(TEXT_LINES))
        text.write_text("".join(lines))
    return program, ["-j1", "-n", "-i", "-w", "sherlock (holmes|timer)", str(text)]


def rav1d(work, debian):
    """A decoder of the rav1d crate, with its assembly if Debian's nasm can be had; and whether it has it."""
    crate, has_assembly = work / "rav1d", True
    try:
        debian.unpack("nasm")
    except Failed as error:
        has_assembly = False
        print(f"rav1d is built without assembly: {error}")
    (crate / "src").mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "decode.rs", crate / "src/main.rs")
    features = '["asm", "bitdepth_8", "bitdepth_16"]' if has_assembly else '["bitdepth_8"]'
    (crate / "Cargo.toml").write_text(f"""[package]
name = "decode"
version = "0.1.0"
edition = "2021"

[dependencies]
rav1d = {{ version = "={RAV1D}", default-features = false, features = {features} }}

# As the crate's own release.
[profile.release]
lto = "fat"
codegen-units = 1
panic = "abort"

[workspace]
""")
    path = f"{debian.root / 'usr/bin'}:{os.environ['PATH']}"
    target = work / "rav1d-target"
    run(["cargo", "build", "--release", "--target-dir", target], cwd=crate, env={**os.environ, **RELEASE, "PATH": path})
    return target / "release/decode", has_assembly


def frame(time):
    """A picture that moves and has some noise, as planes of brightness and colour."""
    width, height = CLIP_SIZE
    luma = bytes((((x + 3 * time) ^ (y + time)) * 5 + (x * y >> 6) + 12 * ((x * 7919 + y * 104729 + time * 31) % 13))
                 & 255 for y in range(height) for x in range(width))
    colour = (bytes(96 + ((x * 2 + time * 4 + plane * 37) & 63) + ((y >> 3) & 7) for y in range(height // 2)
                    for x in range(width // 2)) for plane in (0, 1))
    return luma + b"".join(colour)


def clip(work, debian):
    """A short AV1 clip, by Debian's aomenc."""
    path, raw = work / "clip.ivf", work / "clip.y4m"
    if not path.exists():
        root = debian.unpack("aom-tools", "libaom3", "libyuv0")
        width, height = CLIP_SIZE
        header = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode()
        raw.write_bytes(header + b"".join(b"FRAME\n" + frame(time) for time in range(CLIP_FRAMES)))
        run([root / "usr/bin/aomenc", "--cpu-used=6", "--end-usage=q", "--cq-level=40", "--ivf", "-o", path, raw],
            env=debian.libraries())
    return path


def python(debian):
    """Debian's python3, stripped as it comes; and with its symbols, which the -dbg package has."""
    root = debian.unpack("python3.11-minimal", "python3.11-dbg")
    program = root / "usr/bin/python3.11"
    notes = run(["readelf", "-n", program]).decode()
    identity = re.search(r"Build ID: (\w+)", notes)
    if not identity:
        raise Failed(f"{program} has no build id")
    file = root / "usr/lib/debug/.build-id" / identity[1][:2] / f"{identity[1][2:]}.debug"
    named = debian.root / "with-symbols/python3.11"
    named.parent.mkdir(exist_ok=True)
    shutil.copy(program, named)
    if file.exists():
        shutil.copy(file, named.parent / file.name)
    return program, named if file.exists() else None


def symbols_of(debian, package):
    """Debian's separate symbols of a package: None, or why they cannot be had."""
    try:
        debian.unpack(f"{package}-dbgsym")
    except Failed as error:
        return str(error).split(": ", 1)[-1]
    return None


def kernel(debian, folder):
    """The modules, the bzImage and, where it is, the vmlinux with debug information of a Debian kernel."""
    if folder is None:
        depends = run(["apt-cache", "depends", "linux-image-cloud-amd64"]).decode()
        name = re.search(r"Depends: (linux-image-\S+)", depends)
        if not name:
            raise Failed("linux-image-cloud-amd64 depends on no kernel; run apt-get update")
        folder = debian.unpack(name[1])
    image = sorted((folder / "boot").glob("vmlinuz-*"))
    if not image:
        raise Failed(f"{folder}/boot has no vmlinuz")
    modules = sorted((folder / "lib/modules").rglob("*.ko"))
    return image[-1], modules, sorted((folder / "usr/lib/debug/boot").glob("vmlinux-*"))
