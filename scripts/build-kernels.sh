#!/usr/bin/env bash
# Builds kernels that differ in one option each, from Debian's source package. `pvbench linux run` compares the cost of
# pv_ops on them with that of other options. Needs no root. Each build takes about 90 s and temporarily 400 MB.
#
#     apt-get install linux-source-6.1 gcc make flex bison bc libelf-dev libssl-dev cpio kmod xz-utils
#     scripts/build-kernels.sh FOLDER                 all of them
#     scripts/build-kernels.sh FOLDER base xxl        these
#
# Writes VARIANT.vmlinux (stripped), VARIANT.bzImage and VARIANT.config to FOLDER, and skips existing variants.
# SOURCE names another source package than /usr/src/linux-source-6.1.tar.xz; JOBS is the number of parallel compilers.
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
package=${SOURCE:-/usr/src/linux-source-6.1.tar.xz}
jobs=${JOBS:-$(nproc)}

# Options of all variants: 64 bits, several CPUs, a serial console, an initramfs, System V futexes, and nothing else.
# SLUB replaces SLOB, the default of a tiny configuration, whose list walks would dominate the counts. The emulator
# starts an unpacked kernel through PVH.
common=(-e 64BIT -e BLK_DEV_INITRD -e RD_GZIP -e BINFMT_ELF -e PRINTK -e TTY -e SERIAL_8250 -e SERIAL_8250_CONSOLE
    -e X86_IOPL_IOPERM -e FUTEX -e SMP -e SHMEM -e AIO -e MULTIUSER -e POSIX_TIMERS -e HYPERVISOR_GUEST -e PVH
    -e CC_OPTIMIZE_FOR_PERFORMANCE -d CC_OPTIMIZE_FOR_SIZE -e KERNEL_GZIP -d KERNEL_XZ -e SLUB -d SLOB
    -e HZ_100 -d HZ_250 -e PREEMPT_NONE -d PREEMPT_VOLUNTARY
    -d VT -d INPUT -d SERIO -d HID -d UNIX98_PTYS -d LEGACY_PTYS -d COMPACTION -d KVM_GUEST -d PARAVIRT
    -d CPU_MITIGATIONS)
# SELinux and audit depend on these options, and are compared with a kernel that has only these.
net=(-e NET -e INET -e SYSFS -e PROC_FS)

# Sets `own` to the options of a variant, as pairs for the kernel's scripts/config: -e enables, -d disables.
options() {
    case $1 in
    base) own=() ;;
    paravirt) own=(-e PARAVIRT) ;;
    paravirt-spinlocks) own=(-e PARAVIRT -e PARAVIRT_SPINLOCKS) ;;
    xxl) own=(-e PARAVIRT -e PARAVIRT_XXL) ;;
    xxl-spinlocks) own=(-e PARAVIRT -e PARAVIRT_XXL -e PARAVIRT_SPINLOCKS) ;;
    up) own=(-d SMP) ;;
    preempt) own=(-d PREEMPT_NONE -e PREEMPT) ;;
    retpoline) own=(-e CPU_MITIGATIONS -e RETPOLINE -e RETHUNK) ;;
    stackprotector) own=(-e STACKPROTECTOR -e STACKPROTECTOR_STRONG) ;;
    memcg) own=(-e CGROUPS -e MEMCG) ;;
    security) own=(-e SYSFS -e SECURITY -e SECURITYFS) ;;
    net) own=("${net[@]}") ;;
    audit) own=("${net[@]}" -e AUDIT) ;;
    selinux)
        own=("${net[@]}" -e AUDIT -e SECURITY -e SECURITYFS -e SECURITY_NETWORK -e SECURITY_SELINUX
            -e SECURITY_SELINUX_DEVELOP -e DEFAULT_SECURITY_SELINUX)
        ;;
    *)
        echo "build-kernels.sh: unknown variant '$1'; the variants are: ${all[*]}" >&2
        return 2
        ;;
    esac
}
all=(base xxl-spinlocks xxl paravirt paravirt-spinlocks up preempt retpoline stackprotector memcg security net audit
    selinux)
[ $# -gt 0 ] || set -- "${all[@]}"
for variant in "$@"; do options "$variant"; done

[ -f "$package" ] || {
    echo "build-kernels.sh: $package does not exist; run apt-get install linux-source-6.1" >&2
    exit 2
}
for tool in gcc make flex bison bc cpio xz strip; do
    command -v $tool >/dev/null || {
        echo "build-kernels.sh: $tool is missing; install the packages at the top of this file" >&2
        exit 2
    }
done

source=$out/source
if [ ! -f "$source/.ready" ]; then
    rm -rf "$source"
    mkdir -p "$source"
    tar xf "$package" -C "$source" --strip-components=1
    # In Debian's tree, only Xen selects PARAVIRT_XXL, with many other options. This makes it an option of its own.
    sed -i '/^config PARAVIRT_XXL$/,/^$/s/^\tbool$/\tbool "All hooks of Xen PV guests"\n\tdepends on PARAVIRT/' \
        "$source/arch/x86/Kconfig"
    touch "$source/.ready"
fi

# Checks a configuration against `-e A -d B`: the kernel silently drops options with missing dependencies.
check() {
    local config=$1
    shift
    while [ $# -gt 0 ]; do
        if [ "$1" = -e ] && ! grep -q "^CONFIG_$2=y" "$config"; then
            echo "build-kernels.sh: CONFIG_$2 is not set; check its dependencies" >&2; return 1
        elif [ "$1" = -d ] && grep -q "^CONFIG_$2=" "$config"; then
            echo "build-kernels.sh: CONFIG_$2 is still set; another option selects it" >&2; return 1
        fi
        shift 2
    done
}

for variant in "$@"; do
    if [ -f "$out/$variant.vmlinux" ]; then
        echo "$variant: exists"
        continue
    fi
    objects=$out/objects-$variant
    begun=$SECONDS
    options "$variant"
    # Options of the variant replace those of all variants.
    wanted=()
    for ((i = 0; i < ${#common[@]}; i += 2)); do
        case " ${own[*]} " in *" ${common[i + 1]} "*) ;; *) wanted+=("${common[i]}" "${common[i + 1]}") ;; esac
    done
    wanted+=("${own[@]}")
    make -s -C "$source" O="$objects" ARCH=x86_64 tinyconfig >/dev/null
    "$source/scripts/config" --file "$objects/.config" "${wanted[@]}"
    make -s -C "$source" O="$objects" ARCH=x86_64 olddefconfig >/dev/null
    check "$objects/.config" "${wanted[@]}"
    KBUILD_BUILD_TIMESTAMP=2020-01-01 KBUILD_BUILD_USER=pvbench KBUILD_BUILD_HOST=pvbench \
        make -s -C "$source" O="$objects" ARCH=x86_64 -j"$jobs" bzImage >"$out/$variant.log" 2>&1 ||
        {
            tail -20 "$out/$variant.log" >&2
            echo "build-kernels.sh: $variant failed; see $out/$variant.log" >&2
            exit 1
        }
    cp "$objects/.config" "$out/$variant.config"
    cp "$objects/arch/x86/boot/bzImage" "$out/$variant.bzImage"
    strip -o "$out/$variant.vmlinux.part" "$objects/vmlinux"
    mv "$out/$variant.vmlinux.part" "$out/$variant.vmlinux"
    rm -rf "$objects" "$out/$variant.log"
    echo "$variant: $((SECONDS - begun)) s"
done
