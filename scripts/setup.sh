#!/usr/bin/env bash
# Installs optional tools: valgrind and iai-callgrind-runner for `cargo bench --bench instructions`, Chromium for the
# browser test of the report, QEMU and a kernel for `pvbench linux`. Works on Debian and its derivatives; elsewhere it
# lists the packages. It can run repeatedly. `scripts/setup.sh --check` only lists missing tools.
set -euo pipefail
cd "$(dirname "$0")/.."

# The runner must have the version of the library, which Cargo.lock names.
version=$(sed -n '/^name = "iai-callgrind"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)

missing=()
command -v valgrind >/dev/null || missing+=(valgrind)
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
# A kernel is downloaded and unpacked, not installed, and only if no installed kernel is readable. PVBENCH_KERNEL names
# another kernel for the tests. PVBENCH_ROOT is the root folder of installed kernels.
kernels=target/kernels
has_kernel() {
    local it
    for it in "$1"/boot/vmlinuz* "$1"/lib/modules/*/vmlinuz "$1"/usr/lib/modules/*/vmlinuz; do
        if [ -f "$it" ] && [ -r "$it" ]; then return 0; fi
    done
    return 1
}
# Lists the packages that may hold a kernel, the most likely first: a package and its dependencies. Since Debian 14, an
# empty linux-image-* depends on linux-binary-*, which holds the kernel.
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
    status() { if [ "$1" = yes ]; then echo missing; else echo installed; fi; }
    echo "missing packages: ${missing[*]:-none}; iai-callgrind-runner $version: $(status $runner);" \
        "kernel: $(status $kernel)"
    exit 0
fi
if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup.sh: apt-get is missing; install these packages yourself: ${missing[*]}" >&2
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
    has_kernel "$kernels" || {
        echo "setup.sh: the packages of linux-image-cloud-amd64 hold no kernel; set PVBENCH_KERNEL to a vmlinuz" >&2
        exit 1
    }
fi
if [ $runner = yes ]; then
    cargo install iai-callgrind-runner --version "$version" --locked
fi
echo "setup.sh: all tools are installed"
