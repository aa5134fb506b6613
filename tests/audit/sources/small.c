// A few call sites of each mechanism: its files are damaged in many ways.
#include "sites.h"
fn pointer, table[8];
S long t_one(long x) { return x + 1; }
S long s_mem__global(long x) { return pointer(x) + 1; }
S long s_tab__table(long i, long x) { return table[i](x) + 1; }
S long s_tab__field(struct object *o, long x) { return o->callback(x) + t_one(x); }
S long s_virt__ops(struct object *o, long x) { return o->ops->first(o, x) + 1; }
S long s_virt__loop(struct object *o, long x) {
    long sum = 0;
    for (; o; o = o->next) sum += o->ops->second(o, x);
    return sum;
}
S long s_reg__argument(fn f, long x) { return f(x) + 1; }
__attribute__((cold, noipa)) void t_cold(long x) { pointer(x); }
S long s_jt__switch(long x, struct object *o) {
    if (__builtin_expect(x == 77, 0)) t_cold(x);
    switch (x) {
    case 0: return t_one(3); case 1: return t_one(7) + 1; case 2: return t_one(9) + 2;
    case 3: return o->callback(x) * 3;
    case 4: return t_one(8) + 4; case 5: return x / t_one(5); case 6: return t_one(6) - 1; default: return 0;
    }
}
