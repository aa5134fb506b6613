//! Call sites of Rust, a construct in each function. `s_KIND__CONSTRUCT` as in C; the sites of `o_KIND__CONSTRUCT` are
//! in functions of the library where the compiler does not inline.
#![allow(static_mut_refs, clippy::all)]

use std::hint::black_box;
use std::sync::OnceLock;

pub trait Run {
    fn run(&self, x: u64) -> u64;
    fn change(&mut self, x: u64) -> u64;
}
pub struct A(u64);
pub struct B(u64, u64);
impl Run for A {
    #[inline(never)]
    fn run(&self, x: u64) -> u64 { black_box(self.0 + x) }
    #[inline(never)]
    fn change(&mut self, x: u64) -> u64 { self.0 += x; black_box(self.0) }
}
impl Run for B {
    #[inline(never)]
    fn run(&self, x: u64) -> u64 { black_box(self.0 * x + self.1) }
    #[inline(never)]
    fn change(&mut self, x: u64) -> u64 { self.1 += x; black_box(self.1) }
}
pub struct Holder {
    pub number: u64, pub run: Box<dyn Run>, pub function: fn(u64) -> u64, pub closure: Box<dyn Fn(u64) -> u64>
}
pub struct Table { pub open: fn(&Table, u64) -> u64, pub close: Option<fn(u64) -> u64>, pub size: u64 }
pub type Function = fn(u64) -> u64;

static ONCE: OnceLock<Function> = OnceLock::new();
static mut POINTER: Function = t_one;
static mut POINTERS: [Function; 4] = [t_one, t_two, t_one, t_two];
static mut OBJECT: Option<Box<dyn Run>> = None;
static CONST: [Function; 4] = [t_one, t_two, t_two, t_one];

#[unsafe(no_mangle)]
#[inline(never)]
pub fn t_one(x: u64) -> u64 { black_box(x + 1) }
#[unsafe(no_mangle)]
#[inline(never)]
pub fn t_two(x: u64) -> u64 { black_box(x * 2) }
#[unsafe(no_mangle)]
#[inline(never)]
pub fn t_choose(x: u64) -> Function { black_box(if x > 2 { t_one } else { t_two }) }
#[inline(never)]
pub fn t_generic<R: Run>(r: &R, x: u64) -> u64 { r.run(x) + 1 }

macro_rules! sites {
    ($($vis:vis fn $name:ident($($arg:ident: $type:ty),*) $(-> $ret:ty)? $body:block)*) => {
        $(#[unsafe(no_mangle)] #[inline(never)] $vis fn $name($($arg: $type),*) $(-> $ret)? $body)*
    };
}
// The table of methods of a `dyn` argument comes in a register, as a C table of operations may: the machine code is
// that
// of a table. Behind a reference to the `dyn`, it is that of a method.
sites! {
    pub fn s_direct__call(x: u64) -> u64 { t_one(x) ^ 1 }
    pub fn s_direct__tail(x: u64) -> u64 { t_one(x ^ 1) }
    pub fn s_direct__recursion(x: u64) -> u64 {
        if x < 2 { x } else { s_direct__recursion(x - 1) ^ s_direct__recursion(x - 2) }
    }
    pub fn s_direct__generic(a: &A, b: &B, x: u64) -> u64 { t_generic(a, x) ^ t_generic(b, x) }
    pub fn s_direct__static_type(a: &A, b: &mut B, x: u64) -> u64 { a.run(x) ^ b.change(x) }
    pub fn s_tab__dyn(r: &dyn Run, x: u64) -> u64 { r.run(x) ^ 1 }
    pub fn s_tab__dyn_tail(r: &dyn Run, x: u64) -> u64 { r.run(x ^ 1) }
    pub fn s_tab__dyn_mut(r: &mut dyn Run, x: u64) -> u64 { r.change(x) ^ 1 }
    pub fn s_tab__dyn_twice(r: &mut dyn Run, x: u64) -> u64 { let y = r.change(x); r.change(y) ^ r.run(x) }
    pub fn s_tab__dyn_loop(r: &dyn Run, n: u64) -> u64 { let mut sum = 0; for i in 0..n { sum ^= r.run(i); } sum }
    pub fn s_tab__dyn_two(a: &dyn Run, b: &dyn Run, x: u64) -> u64 { a.run(b.run(x)) ^ 1 }
    pub fn o_tab__box(r: Box<dyn Run>, x: u64) -> u64 { r.run(x) ^ 1 }
    pub fn o_virt_tab__slice(list: &[Box<dyn Run>], x: u64) -> u64 {
        let mut sum = 0; for r in list { sum ^= r.run(x); } sum
    }
    pub fn s_virt__slice_index(list: &[Box<dyn Run>; 4], x: u64) -> u64 { list[(x & 3) as usize].run(x) ^ 1 }
    pub fn s_virt__field(h: &Holder, x: u64) -> u64 { h.run.run(x) ^ 1 }
    pub fn s_virt__field_mut(h: &mut Holder, x: u64) -> u64 { h.run.change(x) ^ h.number }
    pub fn s_virt__reference(r: &&dyn Run, x: u64) -> u64 { r.run(x) ^ 1 }
    pub fn s_virt__box_reference(r: &mut Box<dyn Run>, x: u64) -> u64 { r.change(x) ^ 1 }
    pub fn s_virt__option(r: &Option<Box<dyn Run>>, x: u64) -> u64 { match r { Some(r) => r.run(x) ^ 1, None => 0 } }
    // The compiler may split the pair into two variables.
    // SAFETY: a mutable static needs one thread, and this program has one.
    pub fn o_virt_tab__static(x: u64) -> u64 { match unsafe { &OBJECT } { Some(r) => r.run(x) ^ 1, None => 0 } }
    pub fn s_virt__pair(pair: &(u64, &dyn Run), x: u64) -> u64 { let copy = black_box(pair); copy.1.run(x) ^ 1 }
    pub fn s_tab__struct_function(h: &Holder, x: u64) -> u64 { (h.function)(x) ^ 1 }
    pub fn s_tab__struct_table(t: &Table, x: u64) -> u64 { (t.open)(t, x) ^ 1 }
    pub fn s_tab__optional(t: &Table, x: u64) -> u64 { match t.close { Some(close) => close(x) ^ 1, None => 0 } }
    pub fn s_tab__slice_function(list: &[Function], x: u64) -> u64 {
        let mut sum = 0; let mut i = 0; while i < list.len() { sum ^= list[i](x); i += 1; } sum
    }
    // SAFETY: a mutable static needs one thread, and this program has one.
    pub fn s_tab__static_table(x: u64) -> u64 { unsafe { POINTERS[(x & 3) as usize](x) ^ 1 } }
    pub fn s_tab__const_table(x: u64) -> u64 { CONST[(x & 3) as usize](x) ^ 1 }
    pub fn s_reg__argument(f: Function, x: u64) -> u64 { f(x) ^ 1 }
    pub fn s_reg__argument_tail(f: Function, x: u64) -> u64 { f(x ^ 1) }
    pub fn s_reg__result(x: u64) -> u64 { t_choose(x)(x) ^ 1 }
    pub fn s_reg__loop(f: Function, n: u64) -> u64 { let mut sum = 0; for i in 0..n { sum ^= f(i); } sum }
    // SAFETY: a mutable static needs one thread, and this program has one.
    pub fn s_mem__static(x: u64) -> u64 { unsafe { POINTER(x) ^ 1 } }
    // SAFETY: a mutable static needs one thread, and this program has one.
    pub fn s_mem__static_entry(x: u64) -> u64 { unsafe { POINTERS[2](x) ^ 1 } }
    pub fn o_mem_tab__once(x: u64) -> u64 { match ONCE.get() { Some(f) => f(x) ^ 1, None => 0 } }
    pub fn o_direct__closure(x: u64) -> u64 { let y = black_box(x); let f = |z| t_one(z) ^ y; f(3) ^ f(x) }
    pub fn o_virt__closure_field(h: &Holder, x: u64) -> u64 { (h.closure)(x) ^ 1 }
    pub fn o_tab__closure_dyn(f: &dyn Fn(u64) -> u64, x: u64) -> u64 { f(x) ^ 1 }
    pub fn o_tab__closure_mut(f: &mut dyn FnMut(u64) -> u64, x: u64) -> u64 { let y = f(x); f(y) ^ 1 }
    pub fn s_jt_direct__match(x: u64, y: u64) -> u64 {
        match x {
            0 => t_one(y) ^ 3, 1 => t_two(y) ^ 5, 2 => t_one(y ^ 4), 3 => t_two(y ^ 9), 4 => y ^ t_one(4),
            5 => t_two(7), 6 => t_one(t_two(y)), _ => 0
        }
    }
    pub fn s_virt_ext_direct__vec_push(h: &mut Holder, list: &mut Vec<u64>, x: u64) {
        let y = h.run.run(x); list.push(y); list.push(h.run.change(y));
    }
}

fn main() {
    let n = std::env::args().count() as u64;
    let mut a: Vec<Box<dyn Run>> = vec![Box::new(A(n)), Box::new(B(n, 2)), Box::new(A(3)), Box::new(B(n, n))];
    let functions: Vec<Function> = vec![t_one, t_two, t_choose(n)];
    // SAFETY: a mutable static needs one thread, and this program has one.
    unsafe {
        POINTER = functions[(n & 1) as usize];
        POINTERS[(n & 3) as usize] = POINTER;
        OBJECT = Some(Box::new(A(n)));
        ONCE.set(functions[(n & 1) as usize]).ok();
    }
    let mut h = Holder { number: n, run: Box::new(B(1, n)), function: t_choose(n), closure: Box::new(move |x| x ^ n) };
    let table = Table { open: |t, x| t.size ^ x, close: if n > 3 { None } else { Some(t_choose(n)) }, size: n };
    let mut s = 0;
    macro_rules! sum { ($($e:expr),* $(,)?) => { $( s ^= black_box($e); )* } }
    for x in n..n + 2 {
        let pick = (x & 1) as usize;
        // SAFETY: a mutable static needs one thread, and this program has one.
        if n > 5 { unsafe { OBJECT = Some(Box::new(B(n, x))) } }
        sum!(s_direct__call(x), s_direct__tail(x), s_direct__recursion(x & 7));
        sum!(s_direct__generic(&A(x), &B(x, x), x), s_direct__static_type(&A(x), &mut B(x, 1), x));
        sum!(s_tab__dyn(&*a[pick], x), s_tab__dyn_tail(&*a[pick], x), s_tab__dyn_mut(&mut *a[pick], x));
        sum!(s_tab__dyn_twice(&mut *a[pick], x), s_tab__dyn_loop(&*a[pick], x));
        sum!(s_tab__dyn_two(&*a[pick], &*a[3 - pick], x));
        sum!(o_tab__box(if pick == 0 { Box::new(A(x)) } else { Box::new(B(x, x)) }, x), o_virt_tab__slice(&a, x));
        sum!(s_virt__slice_index((&a[..4]).try_into().unwrap(), x), s_virt__field(&h, x), s_virt__field_mut(&mut h, x));
        sum!(s_virt__reference(&&*a[pick], x), s_virt__box_reference(&mut a[pick], x));
        let option: Option<Box<dyn Run>> = if pick == 0 { Some(Box::new(A(x))) } else { Some(Box::new(B(x, 1))) };
        sum!(s_virt__option(&option, x), s_virt__option(&None, x), o_virt_tab__static(x));
        sum!(s_virt__pair(&(x, &*a[pick]), x));
        sum!(s_tab__struct_function(&h, x), s_tab__struct_table(&table, x), s_tab__optional(&table, x));
        sum!(s_tab__slice_function(&functions, x), s_tab__static_table(x), s_tab__const_table(x));
        sum!(s_reg__argument(functions[pick], x), s_reg__argument_tail(functions[pick], x), s_reg__result(x));
        sum!(s_reg__loop(functions[pick], x), s_mem__static(x), s_mem__static_entry(x), o_mem_tab__once(x));
        sum!(o_direct__closure(x), o_virt__closure_field(&h, x), s_jt_direct__match(x, s));
        let y = x;
        let closures: [&dyn Fn(u64) -> u64; 2] = [&move |z| z ^ y, &|z| z * 3];
        sum!(o_tab__closure_dyn(closures[pick], x));
        let (mut p, mut q) = (x, 0);
        let mut one = |z| { p += z; p };
        let mut two = |z| { q ^= z; q };
        let closure: &mut dyn FnMut(u64) -> u64 = if pick == 0 { &mut one } else { &mut two };
        sum!(o_tab__closure_mut(closure, x));
        let mut list = vec![1];
        s_virt_ext_direct__vec_push(&mut h, &mut list, x);
        sum!(list[1]);
    }
    std::process::exit((s & 1) as i32);
}
