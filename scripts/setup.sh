#!/usr/bin/env bash
# Installs what pvbench can use beyond Rust: valgrind and iai-callgrind-runner for `cargo bench --bench instructions`,
# Chromium for the browser test of the report, QEMU and a kernel for `pvbench linux`. For Debian and its kin; elsewhere it names what to install.
# Safe to run again. `scripts/setup.sh --check` only says what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# The runner has to be of the library's own version, which Cargo.lock names.
version=$(sed -n '/^name = "iai-callgrind"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)

missing=()
command -v valgrind >/dev/null || missing+=(valgrind)
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
# Only where /boot has none that can be read. It is unpacked, not installed: PVBENCH_KERNEL names it to the tests.
kernels=target/kernels
kernel=no
compgen -G '/boot/vmlinuz-*' >/dev/null || compgen -G "$kernels/boot/vmlinuz-*" >/dev/null || kernel=yes
runner=no
[ "$(cargo install --list | sed -n 's/^iai-callgrind-runner v\([^ :]*\).*/\1/p')" = "$version" ] || runner=yes

if [ "${1:-}" = --check ]; then
    echo "missing packages: ${missing[*]:-none}; iai-callgrind-runner $version: $([ $runner = yes ] && echo missing || echo there); \
kernel: $([ $kernel = yes ] && echo missing || echo there)"
    exit 0
fi
if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup.sh: no apt-get here; install by your own means: ${missing[*]}" >&2
        exit 1
    fi
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}"
fi
if [ $kernel = yes ] && command -v apt-get >/dev/null; then
    mkdir -p "$kernels"
    name=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -1)
    (cd "$kernels" && apt-get download -qq "$name" && dpkg-deb -x "$name"_*.deb . && rm "$name"_*.deb)
fi
if [ $runner = yes ]; then
    cargo install iai-callgrind-runner --version "$version" --locked
fi
echo "setup.sh: all there"
