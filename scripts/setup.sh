#!/usr/bin/env bash
# Installs what pvbench can use beyond Rust: valgrind and iai-callgrind-runner for `cargo bench --bench instructions`,
# Chromium for the browser test of the report, QEMU and a kernel for `pvbench linux`. For Debian and its kin; elsewhere
# it names what to install. Safe to run again. `scripts/setup.sh --check` only says what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# The runner has to be of the library's own version, which Cargo.lock names.
version=$(sed -n '/^name = "iai-callgrind"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)

missing=()
command -v valgrind >/dev/null || missing+=(valgrind)
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
# Only where none is installed that can be read. It is unpacked, not installed; PVBENCH_KERNEL names another one to the
# tests. PVBENCH_ROOT names another root folder to look for installed ones in.
kernels=target/kernels
has_kernel() {
    local it
    for it in "$1"/boot/vmlinuz* "$1"/lib/modules/*/vmlinuz "$1"/usr/lib/modules/*/vmlinuz; do
        if [ -f "$it" ] && [ -r "$it" ]; then return 0; fi
    done
    return 1
}
# The packages that may hold a kernel, on the way from one that only depends on the newest. Since Debian 14 that is
# linux-binary-*, on which an empty linux-image-* depends.
kernel_packages() {
    local names=("$1") next
    for ((next = 0; next < ${#names[@]} && next < 8; next++)); do
        mapfile -t -O ${#names[@]} names < <(apt-cache depends --important "${names[next]}" |
            sed -nE 's/^[ |]*(Pre)?Depends: (linux-(image|binary)-.*)$/\2/p')
    done
    printf '%s\n' "${names[@]}" | tac | awk '!seen[$0]++'
}
kernel=no
has_kernel "${PVBENCH_ROOT:-}" || has_kernel "$kernels" || kernel=yes
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
    for name in $(kernel_packages linux-image-cloud-amd64); do
        (cd "$kernels" && apt-get download -qq "$name" && dpkg-deb -x "$name"_*.deb . && rm "$name"_*.deb)
        if has_kernel "$kernels"; then break; fi
    done
    has_kernel "$kernels" || { echo "setup.sh: no kernel in the packages of linux-image-cloud-amd64; name one in PVBENCH_KERNEL" >&2; exit 1; }
fi
if [ $runner = yes ]; then
    cargo install iai-callgrind-runner --version "$version" --locked
fi
echo "setup.sh: all there"
