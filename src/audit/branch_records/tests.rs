use super::*;

/// Lines as perf 6.1 prints them: the mappings are those of a real program, the records have the documented format.
const FILE: &str = "\
  swapper     0 PERF_RECORD_MMAP -1/0: [0xffffffff81000000(0x12090c8) @ 0xffffffff81000000]: x [kernel.kallsyms]_text
      app 28968 PERF_RECORD_MMAP2 28968/28968: \
[0x557afa6a3000(0x3000) @ 0x1000 fe:00 11626497 12821]: r-xp /bin/app
      app 28968 PERF_RECORD_MMAP2 28968/28968: \
[0x7fd9971ce000(0x156000) @ 0x26000 fe:00 326279 0]: r-xp /lib/libc.so.6
      app 28968       3000 br_inst_retired.near_taken:u:  0x557afa6a3010/0x557afa6a3200/P/-/-/3 \
0x557afa6a3208/0x557afa6a3008/P/-/-/12 0x557afa6a3018/0x7fd9971ce100/M/-/-/1
";

fn parse(text: &str) -> Result<Records, CountFileError> {
    let segments = vec![Segment { offsets: 0x1000..0x4000, address: 0x401000 }];
    let binary = Binary { path: Path::new("/bin/app"), build_id: Some("00ab".to_owned()), segments };
    read("lbr.txt", &mut text.as_bytes(), &binary)
}

#[test]
fn an_address_of_a_process_is_one_of_the_file_by_its_mapping_and_its_segment() {
    let records = parse(FILE).unwrap();
    assert_eq!(records.total, 3);
    assert_eq!(records.branches[&0x401010], BTreeMap::from([(BranchTarget::Own(0x401200), 1)]));
    assert_eq!(records.branches[&0x401018], BTreeMap::from([(BranchTarget::Other(2, 0x26100), 1)]));
    assert_eq!(records.files[2], "/lib/libc.so.6");
}

#[test]
fn a_record_stands_for_its_part_of_the_period_of_taken_branches() {
    // The third record does not lead to the second one.
    assert_eq!(parse(FILE).unwrap().branches_per_record, Err(Unscaled::Filtered));
    let following = FILE.replace("0x7fd9971ce100", "0x557afa6a3204");
    assert_eq!(parse(&following).unwrap().branches_per_record, Ok(1000.0));
    let other = following.replace("br_inst_retired.near_taken:u", "cycles:u");
    assert_eq!(parse(&other).unwrap().branches_per_record, Err(Unscaled::OtherEvent("cycles:u".to_owned())));
    let kernel = following.replace("near_taken:u:", "near_taken:");
    let reason = parse(&kernel).unwrap().branches_per_record;
    assert_eq!(reason, Err(Unscaled::Kernel("br_inst_retired.near_taken".to_owned())));
    let without = following.replace("      3000 br_inst_retired.near_taken:u:", "");
    assert_eq!(parse(&without).unwrap().branches_per_record, Err(Unscaled::NoPeriod));
}

#[test]
fn names_times_and_files_in_parentheses_do_not_disturb_a_sample() {
    let noisy = FILE.replace("app 28968       3000", "my (app 7) 5 28968/28968 [001] 52338.8: 3000");
    let noisy =
        noisy.replace("0x557afa6a3010/0x557afa6a3200/", "0x557afa6a3010(/bin/my app)/0x557afa6a3200(/bin/app)/");
    let (records, plain) = (parse(&noisy).unwrap(), parse(FILE).unwrap());
    assert_eq!((records.branches, records.total), (plain.branches, 3));
}

#[test]
fn a_child_has_the_mappings_of_its_parent_and_a_new_mapping_replaces_an_old_one() {
    let child = FILE.replace("app 28968       3000", "app 30000       3000");
    assert_eq!(parse(&child).unwrap().branches, parse(FILE).unwrap().branches);
    let moved = "app 28968 PERF_RECORD_MMAP2 28968/28968: [0x557afa6a3000(0x1000) @ 0x2000 fe:00 1 2]: r-xp /bin/app\n";
    let lines: Vec<&str> = FILE.split_inclusive('\n').collect();
    let text = [lines[1], moved, lines[3]].concat();
    assert!(parse(&text).unwrap().branches.contains_key(&0x402010));
}

#[test]
fn records_of_another_binary_or_build_or_without_mappings_are_an_error_with_the_next_step() {
    let message = |text: &str| parse(text).unwrap_err().to_string();
    let other = message(&FILE.replace("/bin/app", "/bin/other"));
    assert!(other.contains("nothing of /bin/app ran") && other.contains("/bin/other"), "{other}");
    let build = message(&FILE.replace("fe:00 11626497 12821", "<1234>"));
    assert!(build.contains("build id of /bin/app is 00ab, and 1234 ran"), "{build}");
    assert!(parse(&FILE.replace("fe:00 11626497 12821", "<00AB>")).is_ok());
    let last = FILE.lines().last().unwrap();
    assert!(message(last).contains("--show-mmap-events"), "{}", message(last));
    assert!(message("app 5 PERF_RECORD_MMAP2 what\n").contains("lbr.txt:1: the mapping is malformed"));
    assert!(message(&"x".repeat(MAX_LINE_BYTES)).contains("lbr.txt:1: the line has more than"));
}
