// Call sites of C, a construct in each function.
#include "sites.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static fn local_pointer = t_one;
static fn local_table[4] = {t_one, t_two, t_three, t_one};
static long (*const const_table[4])(long) = {t_one, t_two, t_three, t_two};
T void t_set(long i, fn f) { local_pointer = f; local_table[i & 3] = f; }

// Direct calls.
S long s_direct__call(long x) { return t_one(x) + 1; }
S long s_direct__tail(long x) { return t_one(x + 1); }
S long s_direct__conditional_tail(long x) { if (x & 1) return t_one(x); return x ? t_two(x) : 3; }
S long s_direct__recursion(long x) { return x < 2 ? x : s_direct__recursion(x - 1) + s_direct__recursion(x - 2); }
S long s_direct__mutual_b(long x);
S long s_direct__mutual_a(long x) { return x ? s_direct__mutual_b(x - 1) + 1 : 0; }
S long s_direct__mutual_b(long x) { return x ? s_direct__mutual_a(x - 1) + 2 : 1; }
S long s_direct__loop(long x) { long sum = 0; for (long i = 0; i < x; i++) sum += t_two(i); return sum; }
S long s_direct__many_arguments(long x) { char text[64]; text[x & 63] = 1; return t_one(text[3]) + t_two((long)text); }
__attribute__((cold, noipa)) void t_cold(long x) { zero = x; }
S long s_direct__cold_part(long x) {
    for (long i = 0; i < x; i++) if (__builtin_expect(t_one(i) == 12345, 0)) { t_cold(x); t_cold(i); x += t_two(x); }
    return x;
}
static __attribute__((noipa)) long t_static(long x) { return x + zero; }
S long s_direct__static(long x) { return t_static(x) * 3; }
extern long t_weak(long) __attribute__((weak));
S long s_dynamic__weak_defined(long x) { return t_weak ? t_weak(x) + 1 : x; }
extern long t_nowhere(long) __attribute__((weak));
S long s_dynamic__weak_undefined(long x) { if (t_nowhere) return t_nowhere(x) + 1; return t_one(x) + 1; }

// Functions of another library.
S long s_ext__call(long x) { return getpid() + x; }
S long s_ext__tail(long x) { return labs(x + 1) + getppid(); }
S void s_ext__string(char *a, const char *b) { strcat(a, b); }
S long s_ext__jump(void) { return getppid(); }
S long s_ext__longjmp(long x) { jmp_buf at; if (setjmp(at)) return x; if (x > 100) longjmp(at, 1); return 2; }
static fn resolve(void) { return t_two; }
long t_ifunc(long) __attribute__((ifunc("resolve")));
S long s_dynamic__ifunc(long x) { return t_ifunc(x) + 1; }

// Words at fixed addresses.
S long s_mem__global(long x) { return pointer(x) + 1; }
S long s_mem__global_tail(long x) { return pointer(x); }
S long s_mem__local_global(long x) { return local_pointer(x) + 1; }
S long s_mem__checked(long x) { return pointer ? pointer(x) + 1 : x; }
S long s_mem__atomic(long x) { return __atomic_load_n(&pointer, __ATOMIC_ACQUIRE)(x) + 1; }
S long s_mem__table_constant(long x) { return table[2](x) + local_table[3](x); }
S long s_mem__struct_global(long x) { return global_ops.second((void *)x, x) + 1; }
S long s_mem__field_global(long x) { return object_itself.callback(x) + 1; }
S long s_mem__loop(long x) { long sum = 0; for (long i = 0; i < x; i++) sum += pointer(i); return sum; }
S long s_mem__argument_stored(long x, fn f) { zero = (long)f; return pointer((long)f + x) + x; }

// Words at an address that comes in a register.
S long s_tab__table_variable(long i, long x) { return table[i](x) + 1; }
S long s_tab__table_variable_tail(long x, long i) { return table[i](x); }
S long s_tab__const_table(long i, long x) { return const_table[i & 3](x) + 1; }
S long s_tab__local_table(long i, long x) { return local_table[i & 3](x) + 1; }
S long s_tab__table_argument(fn *t, long i) { return t[i](i) + 1; }
S long s_tab__table_argument_constant(fn *t, long x) { return t[3](x) + 1; }
S long s_tab__table_of_pointer(long x) { return table_pointer[1](x) + 1; }
S long s_tab__field(struct object *o, long x) { return o->callback(x) + 1; }
S long s_tab__field_tail(struct object *o) { return o->callback(7); }
S long s_tab__field_saved(struct object *o, long x) { long y = t_one(x); return o->callback(y) + o->field; }
S long s_tab__field_by_global(long x) { return global_object->callback(x) + 1; }
S long s_tab__field_of_result(long x) { return ((struct object *)t_object(x))->callback(x) + 1; }
S long s_tab__ops_other_object(struct object *o, long x) { return o->ops->second((void *)x, x) + 1; }
S long s_tab__ops_argument(const struct ops *ops, void *o, long x) { return ops->second(o, x) + 1; }
S long s_tab__ops_by_global(long x) { return shared_ops->first((void *)x, x) + 1; }
S long s_tab__list(struct object *o, long x) { long sum = 0; for (; o; o = o->next) sum += o->callback(x); return sum; }
S long s_tab__chosen_object(struct object *a, struct object *b, long c) { return (c ? a : b)->callback(c) + 1; }
S void s_tab__array_walk(fn *begin, fn *end) { for (; begin < end; begin++) (*begin)(1); }
S void s_tab__initcalls(long n) { for (long i = 0; i < n; i++) table[i](i); }
S long s_tab__checked(struct object *o, long x) { if (!o->callback) return -1; return o->callback(x) + 1; }
S long s_tab__many_live(struct object *o, long a, long b, long c, long d) {
    long e = t_one(a), f = t_two(b), g = t_three(c), h = t_one(d);
    return o->callback(e) + o->callback(f) * g + o->callback(h) - e * f;
}
S long s_tab__pushed(struct object *o) {
    long a[32]; for (long i = 0; i < 32; i++) a[i] = o->callback(i); return a[o->field & 31];
}
S long s_tab__two_loops(struct object **o, long n) {
    long sum = 0;
    for (long i = 0; i < n; i++) for (long j = 0; j < i; j++) sum += o[i]->callback(o[j]->field);
    return sum;
}
S long s_tab__switch_then(struct object *o, long x) {
    switch (x) { case 0: t_one(1); break; case 1: t_two(2); break; case 9: t_three(3); break; default: return 0; }
    return o->callback(x) + 1;
}

// Methods of an object. A table of operations that the object points to is the same machine code as a virtual call.
S long s_virt__ops(struct object *o, long x) { return o->ops->first(o, x) + 1; }
S long s_virt__ops_second(struct object *o, long x) { return o->ops->second(o, x) + 1; }
S long s_virt__ops_tail(struct object *o, long x) { return o->ops->second(o, x + 1); }
S long s_virt__ops_first_field(struct derived *o, long x) { return o->ops->second(o, x) + 1; }
S long s_virt__ops_twice(struct object *o, long x) { return o->ops->second(o, x) + o->ops->first(o, x + 1); }
S long s_virt__ops_of_global(long x) { return global_object->ops->first(global_object, x) + 1; }
S long s_virt__ops_of_known(long x) { return object_itself.ops->first(&object_itself, x) + 1; }
S long s_virt__ops_inner(struct object *o, long x) { return o->next->ops->first(o->next, x) + 1; }
S long s_virt__ops_loop(struct object *o, long x) {
    long sum = 0; for (; o; o = o->next) sum += o->ops->second(o, x); return sum;
}
S long s_virt__ops_checked(struct object *o, long x) {
    if (!o->ops || !o->ops->second) return -1; return o->ops->second(o, x) + 1;
}
S long s_virt__ops_of_result(long x) { struct object *o = t_object(x); return o->ops->first(o, x) + 1; }
S long s_virt__ops_branch(struct object *o, long x) {
    if (x > 3) x = t_one(x); else x += 5; return o->ops->second(o, x) + 1;
}

// Values that were no load of the function.
S long s_reg__argument(fn f, long x) { return f(x) + 1; }
S long s_reg__argument_tail(long x, fn f) { return f(x + 1); }
S long s_reg__argument_third(long x, long y, fn f) { return f(x) + y; }
S long s_reg__argument_saved(fn f, long x) { long y = t_one(x); return f(y) + f(x); }
S long s_reg__result(long x) { return t_choose(x)(x) + 1; }
S long s_reg__result_saved(long x) { fn f = t_choose(x); long y = t_one(x); return f(y) + 1; }
S long s_reg__loop(fn f, long n) { long sum = 0; for (long i = 0; i < n; i++) sum += f(i); return sum; }
S long s_reg__checked(fn f, long x) { if (!f) return 0; return f(x) + 1; }
S long s_reg_direct__two(long c, long x) { fn f = c ? t_one : t_two; zero = 3; return f(x) + (long)f; }
S long s_reg__two_loads(struct object *a, struct object *b, long c) {
    fn f = c > 3 ? a->callback : table[1]; zero = c; return f(c) + 1;
}
S long s_reg__default(struct object *o, fn f) { if (o->field == 5) f = table[0]; zero = 4; return f(7) + 1; }
S void s_reg__sort(void *base, long n, int (*compare)(const void *, const void *)) { compare(base, (char *)base + n); }

// Jumps within the function.
S long s_jt__dense(long x) {
    switch (x) {
    case 0: return zero * 7; case 1: return zero + 5; case 2: return zero - 9; case 3: return 4 / zero;
    case 4: return zero % 7; case 5: return zero << 5; case 6: return zero ^ 77; case 7: return 1234 - zero;
    default: return 0;
    }
}
S long s_jt_direct__calls(long x, long y) {
    switch (x) {
    case 3: y += t_one(y); break; case 4: y -= t_two(y + 1); break; case 5: y *= t_three(y); break;
    case 6: y = t_one(4); break;
    case 7: y ^= t_two(y); break; case 8: y |= t_three(y - 1); break; case 9: y &= t_one(y * 3); break;
    case 10: return 3;
    }
    return y + 1;
}
S long s_jt_direct__loop(const char *text) {
    long sum = 0;
    for (; *text; text++) switch (*text) {
        case 'a': sum += t_one(1); break; case 'b': sum -= t_two(2); break; case 'c': sum *= 3; break;
        case 'd': sum /= 3; break;
        case 'e': sum ^= t_one(5); break; case 'f': sum |= 6; break; case 'g': sum <<= 1; break; case 'h': return sum;
        }
    return sum;
}
S long s_none__sparse(long x) {
    switch (x) { case 1: return 7; case 1000: return 9; case 100000: return 11; default: return 3; }
}
S long s_jt_tab__then_call(long x, struct object *o) {
    switch (x) {
    case 0: x = zero; break; case 1: x = zero + 9; break; case 2: x = zero * 3; break; case 3: x = 77 / zero; break;
    case 4: x = zero % 5; break; case 5: zero = 1; break; case 6: zero = x * 7; break; default: x = 9; }
    return o->callback(x) + 1;
}
S long s_jt_virt__methods(struct object *o, long x) {
    switch (x) {
    case 0: return o->ops->first(o, 1); case 1: return o->ops->second(o, 5) + 1; case 2: x = zero * 3; break;
    case 3: x = 77 / zero; break; case 4: x = zero % 5; break; case 5: zero = 1; break; case 6: zero = x * 7; break;
    default: x = 9; }
    return o->ops->second(o, x) + 1;
}
S long s_jt__goto(const unsigned char *code) {
    static void *const labels[] = {&&add, &&sub, &&twice, &&stop};
    long sum = zero;
    goto *labels[*code++];
add: sum += 3; goto *labels[*code++];
sub: sum -= 5; goto *labels[*code++];
twice: sum *= 2; goto *labels[*code++];
stop: return sum;
}
S long s_jt_direct__goto_calls(const unsigned char *code) {
    static void *const labels[] = {&&add, &&sub, &&twice, &&stop};
    long sum = 0;
    goto *labels[*code++];
add: sum += t_one(3); goto *labels[*code++];
sub: sum -= t_two(5); goto *labels[*code++];
twice: sum *= 2; goto *labels[*code++];
stop: return sum;
}
S long s_jt__goto_offsets(const unsigned char *code) {
    static const int labels[] = {&&add - &&add, &&sub - &&add, &&stop - &&add};
    long sum = zero;
    goto *(&&add + labels[*code++]);
add: sum += 3; goto *(&&add + labels[*code++]);
sub: sum -= 5; goto *(&&add + labels[*code++]);
stop: return sum;
}
S long s_unk__longjmp(void **at) { if (zero) __builtin_longjmp(at, 1); return 3; }
