//! The programs of the corpus: compilers, options, and how to make them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a build changes in the machine code of the sites.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effects {
    /// Indirect calls go through retpolines.
    pub retpolines: bool,
    /// Calls of other libraries go through the global offset table, not the procedure linkage table.
    pub no_plt: bool,
    /// Nothing is called through the loader.
    pub is_static: bool,
    /// Functions of the program itself can be replaced by the loader.
    pub is_shared: bool,
    /// Every address is loaded into a register before it is called.
    pub large: bool,
    /// Every function begins with a call of `__fentry__`.
    pub fentry: bool,
    /// Returns are jumps to a thunk.
    pub return_thunks: bool,
    /// The file was not linked.
    pub is_object: bool,
    /// The compiler is that of Rust, which calls libraries through the global offset table.
    pub is_rust: bool,
}

/// A program of the corpus.
#[derive(Clone, Debug)]
pub struct Build {
    pub name: String,
    compiler: &'static str,
    options: Vec<&'static str>,
    pub effects: Effects,
}

/// A file that was built.
pub struct Built {
    pub name: String,
    pub path: PathBuf,
    pub effects: Effects,
    /// The same program without symbols.
    pub stripped: Option<PathBuf>,
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/sources").join(name)
}

/// Whether a compiler is installed.
pub fn has(compiler: &str) -> bool {
    Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// All programs, for the compilers that are installed. The compilers that are not are named on standard error.
pub fn all() -> Vec<Build> {
    let mut builds = Vec::new();
    let mut add = |compiler, options: &[&'static str], effects| {
        let name = [&[compiler], options].concat().join(" ");
        builds.push(Build { name, compiler, options: options.to_vec(), effects });
    };
    for compiler in ["gcc", "g++", "clang", "clang++"].into_iter().filter(|compiler| has_or_say(compiler)) {
        let is_cpp = compiler.ends_with("++");
        let is_gcc = compiler.starts_with('g');
        let plain = Effects::default();
        let levels: &[&str] = if is_cpp { &["-O0", "-O2", "-Os"] } else { &["-O0", "-O1", "-O2", "-Os", "-O3"] };
        for level in levels {
            add(compiler, &[level], plain);
        }
        add(compiler, &["-O2", "-flto"], plain);
        add(compiler, &["-O2", "-fno-plt"], Effects { no_plt: true, ..plain });
        add(compiler, &["-O2", "-fPIC", "-shared"], Effects { is_shared: true, ..plain });
        add(compiler, &["-O2", "-no-pie", "-fno-pie"], plain);
        add(compiler, &["-O2", "-fcf-protection=full"], plain);
        if is_cpp {
            continue;
        }
        add(compiler, &["-O0", "-fno-plt"], Effects { no_plt: true, ..plain });
        add(compiler, &["-O0", "-no-pie", "-fno-pie"], plain);
        add(compiler, &["-O0", "-fPIC", "-shared"], Effects { is_shared: true, ..plain });
        add(compiler, &["-O3", "-march=haswell", "-fomit-frame-pointer"], plain);
        add(compiler, &["-O2", "-fno-omit-frame-pointer", "-fstack-protector-all"], plain);
        add(compiler, &["-O2", "-static"], Effects { is_static: true, ..plain });
        let large = Effects { large: true, ..plain };
        add(compiler, &["-O2", "-mcmodel=large", "-no-pie", "-fno-pie"], large);
        if !is_gcc {
            continue;
        }
        add(compiler, &["-O2", "-fcf-protection=none", "-Wl,-z,now"], plain);
        add(compiler, &["-O2", "-pg", "-mfentry"], Effects { fentry: true, ..plain });
        let retpolines = Effects { retpolines: true, ..plain };
        add(compiler, &["-O2", "-fcf-protection=none", "-mindirect-branch=thunk"], retpolines);
        add(compiler, &["-O2", "-fcf-protection=none", "-mindirect-branch=thunk-inline"], retpolines);
        let as_linux = Effects { return_thunks: true, ..retpolines };
        for level in ["-O2", "-O0"] {
            let thunks = ["-mindirect-branch=thunk-extern", "-mfunction-return=thunk-extern", "-fcf-protection=none"];
            add(compiler, &[level, thunks[0], thunks[1], thunks[2]], as_linux);
        }
    }
    if has_or_say("rustc") {
        let rust = Effects { is_rust: true, ..Effects::default() };
        for level in ["-Copt-level=0", "-Copt-level=2", "-Copt-level=3", "-Copt-level=s"] {
            add("rustc", &[level], rust);
        }
        add("rustc", &["-Copt-level=3", "-Clto=fat"], rust);
        add("rustc", &["-Copt-level=2", "-Cpanic=abort", "-Ccodegen-units=1"], rust);
        add("rustc", &["-Copt-level=2", "-Crelocation-model=static"], rust);
    }
    builds
}

fn has_or_say(compiler: &str) -> bool {
    let is_there = has(compiler);
    if !is_there {
        eprintln!("{compiler} is not installed: the corpus has no programs of it");
    }
    is_there
}

impl Build {
    /// Builds the program, its twin without symbols, and its object files alone and in an archive.
    pub fn make(&self, folder: &Path) -> Vec<Built> {
        let program = folder.join("program");
        let mut built = Vec::new();
        if self.effects.is_rust {
            let options = ["--edition", "2024", "-Cdebuginfo=0", "-Astatic_mut_refs", "-o"];
            run(Command::new("rustc").args(options).arg(&program).args(&self.options).arg(source("sites.rs")));
            let object = folder.join("sites.o");
            if !self.options.contains(&"-Clto=fat") {
                let as_object = ["--edition", "2024", "--emit=obj", "-Ccodegen-units=1", "-o"];
                run(Command::new("rustc").args(as_object).arg(&object).args(&self.options).arg(source("sites.rs")));
                built.push(self.built("object file", object, Effects { is_object: true, ..self.effects }, None));
            }
        } else {
            self.compile(folder, &program, &mut built);
        }
        let stripped = folder.join("stripped");
        run(Command::new("strip").arg("-o").arg(&stripped).arg(&program));
        built.push(self.built("linked", program, self.effects, Some(stripped)));
        built
    }

    fn compile(&self, folder: &Path, program: &Path, built: &mut Vec<Built>) {
        let sites = if self.compiler.ends_with("++") { "sites.cpp" } else { "sites.c" };
        let mut objects = Vec::new();
        let thunks = self.options.contains(&"-mindirect-branch=thunk-extern").then_some("thunks.S");
        for name in [sites, "targets.c", "main.c", "asm.S"].into_iter().chain(thunks) {
            let object = folder.join(name).with_extension(format!("{}.o", name.rsplit('.').next().unwrap()));
            let is_c = name.ends_with(".c");
            let compiler = match self.compiler {
                "g++" if is_c => "gcc",
                "clang++" if is_c => "clang",
                compiler => compiler,
            };
            run(Command::new(compiler).args(&self.options).args(["-c", "-w", "-o"]).arg(&object).arg(source(name)));
            objects.push(object);
        }
        run(Command::new(self.compiler).args(&self.options).args(["-w", "-o"]).arg(program).args(&objects));
        if !self.options.contains(&"-flto") && !self.effects.is_static {
            let effects = Effects { is_object: true, is_shared: self.effects.is_shared, ..self.effects };
            let archive = folder.join("library.a");
            run(Command::new("ar").arg("rc").arg(&archive).args(&objects));
            built.push(self.built("object file", objects.swap_remove(0), effects, None));
            built.push(self.built("archive", archive, effects, None));
        }
    }

    fn built(&self, what: &str, path: PathBuf, effects: Effects, stripped: Option<PathBuf>) -> Built {
        Built { name: format!("{} ({what})", self.name), path, effects, stripped }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Small files for damage: an object file with relocations, a linked program with symbols, and a library without.
pub fn small(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (name, options) in [
        ("small.o", &["-O2", "-c"][..]),
        ("program", &["-O1", "-nostdlib", "-static", "-Wl,-e,s_mem__global", "-Wl,-z,noseparate-code"]),
        ("library.so", &["-O2", "-fPIC", "-shared", "-s", "-nostdlib", "-Wl,-z,noseparate-code"]),
        ("retpolines.o", &["-O2", "-c", "-fcf-protection=none", "-mindirect-branch=thunk", "-pg", "-mfentry"]),
    ] {
        let file = folder.join(name);
        run(Command::new("gcc").args(options).args(["-w", "-o"]).arg(&file).arg(source("small.c")));
        files.push(file);
    }
    let archive = folder.join("library.a");
    run(Command::new("ar").arg("rc").arg(&archive).arg(&files[0]).arg(&files[3]));
    files.push(archive);
    files
}
