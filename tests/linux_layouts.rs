//! The layout of pv_ops in a kernel is recognised by the behaviour of its hooks, whatever version the kernel names. The
//! tests make all fixtures.

use std::path::Path;

use assert_cmd::Command;
use pvbench::linux::elf::Elf;
use pvbench::linux::hooks::Hooks;
use pvbench::linux::unpatch::{Unpatching, unpatch};

mod made_kernel;

use made_kernel::tables::{LINUX_7_2, LOCK, kernel};

fn hooks(hooks: &str, extra: (&str, u64)) -> (Elf<'static>, Hooks) {
    let elf = Elf::of(Path::new("k"), kernel("9.9.9-made", hooks, extra)).unwrap();
    let hooks = Hooks::of(&elf).unwrap();
    (elf, hooks)
}

fn names(hooks: &Hooks) -> String {
    hooks.sites.iter().map(|site| hooks.name(site.slot)).collect::<Vec<_>>().join(" ")
}

/// Descriptions, hooks of pv_ops and hooks of pv_ops_lock of all generations, newest first.
fn structures() -> [(&'static str, String, &'static str); 8] {
    let linux_7_2 = LINUX_7_2.to_owned();
    let linux_7_1 = linux_7_2.replace("lazy_flush", "lazy_enter lazy_leave lazy_flush");
    let linux_7_0 = format!("io_delay {linux_7_1}");
    let linux_6_15 = linux_7_0.replace("update_io_bitmap", "update_io_bitmap wbinvd");
    let linux_6_3 = linux_6_15.replace("exit_mmap", "tlb_remove_table exit_mmap");
    let linux_5_16 = linux_6_3.replace("enter_mmap", "activate_mm dup_mmap");
    let with_lock = |hooks: &str| format!("{hooks} {LOCK}");
    [
        ("Linux 7.3,", linux_7_2.clone(), "wait kick vcpu_is_preempted"),
        ("Linux 7.2,", linux_7_2, LOCK),
        ("Linux 7.1,", linux_7_1, LOCK),
        ("Linux 7.0,", linux_7_0.clone(), LOCK),
        ("Linux 6.16 to 7.0,", with_lock(&linux_7_0), ""),
        ("Linux 6.15,", with_lock(&linux_6_15), ""),
        ("Linux 6.3 to 6.14,", with_lock(&linux_6_3), ""),
        ("Linux 5.16 to 6.2,", with_lock(&linux_5_16), ""),
    ]
}

#[test]
fn every_layout_is_recognised_by_its_hooks_and_names_all_of_them() {
    for (linux, structure, lock) in structures() {
        // The linker chooses the address of pv_ops_lock: close after pv_ops, or far away.
        for gap in [24, 0x4000] {
            let (_, hooks) = hooks(&structure, (lock, gap));
            assert!(hooks.recognised().starts_with(linux), "{linux} {}", hooks.recognised());
            let all = format!("{structure} {lock}");
            assert_eq!(names(&hooks), all.trim(), "{linux}");
        }
    }
}

#[test]
fn kernels_with_fewer_options_are_recognised() {
    let four_levels = LINUX_7_2.replace("p4d_val make_p4d set_pgd ", "");
    let neither = four_levels.replace("invalidate_io_bitmap update_io_bitmap ", "");
    let small = "safe_halt halt flush_tlb_user flush_tlb_kernel flush_tlb_one_user flush_tlb_multi exit_mmap \
                 notify_page_enc_status_changed";
    let small_6_1 = "io_delay flush_tlb_user flush_tlb_kernel flush_tlb_one_user flush_tlb_multi tlb_remove_table \
                     exit_mmap notify_page_enc_status_changed queued_spin_lock_slowpath queued_spin_unlock wait kick \
                     vcpu_is_preempted";
    let cases = [
        (four_levels.as_str(), "Linux 7.2 to 7.3, PARAVIRT_XXL, X86_IOPL_IOPERM, four"),
        (&neither, "Linux 7.2 to 7.3, PARAVIRT_XXL, four"),
        (small, "Linux 7.1 to 7.3, without PARAVIRT_XXL"),
        (small_6_1, "Linux 5.16 to 6.14, without PARAVIRT_XXL"),
    ];
    for (structure, recognised) in cases {
        let (_, hooks) = hooks(structure, ("", 0));
        assert!(hooks.recognised().starts_with(recognised), "{recognised}: {}", hooks.recognised());
        assert_eq!(names(&hooks), structure.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn an_unknown_layout_names_only_hooks_with_a_unique_body() {
    let structure = LINUX_7_2.replace("set_pte", "hook_of_tomorrow set_pte");
    let (elf, hooks) = hooks(&structure, (LOCK, 24));
    assert!(hooks.layout.is_none());
    assert!(hooks.recognised().starts_with("no known layout; "), "{}", hooks.recognised());
    let (wanted, found) = (format!("{structure} {LOCK}"), names(&hooks));
    let pairs: Vec<(&str, &str)> = wanted.split_whitespace().zip(found.split_whitespace()).collect();
    // No hook has a wrong name.
    assert!(pairs.iter().all(|(wanted, found)| wanted == found || found.starts_with("pv_ops[")), "{pairs:?}");
    for named in ["save_fl", "irq_disable", "read_cr0", "write_cr3", "load_idt", "read_pmc", "queued_spin_unlock"] {
        assert!(pairs.contains(&(named, named)), "{named}: {pairs:?}");
    }
    for other in ["read_msr", "pte_val", "set_pte", "wait"] {
        assert!(!pairs.contains(&(other, other)), "{other}: {pairs:?}");
    }
    // Its tables still have a known form, so it can be edited.
    let mut edited = elf.clone();
    let edits = unpatch(&mut edited, &hooks, Unpatching::Nopatch).unwrap();
    assert_eq!(edits.sites, pairs.len());
}

#[test]
fn tables_and_json_name_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmlinux");
    std::fs::write(&path, kernel("7.2.13-made", LINUX_7_2, (LOCK, 24))).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("pvbench").unwrap();
        command.arg("linux").arg(arguments[0]).arg(&path).args(&arguments[1..]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = "Linux 7.2, PARAVIRT_XXL, X86_IOPL_IOPERM, five levels of page tables";
    assert!(run(&["sites"]).contains(&format!("pv_ops: {said}")));
    let json: serde_json::Value = serde_json::from_str(&run(&["sites", "--json"])).unwrap();
    assert_eq!(json["layout"], said);
    assert!(json["ops"].as_array().unwrap().iter().any(|op| op["op"] == "queued_spin_lock_slowpath"));
    let out = folder.path().join("out");
    assert!(run(&["unpatch", "--out", out.to_str().unwrap()]).contains(said));
}
