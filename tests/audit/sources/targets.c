// What the sites call, and a program that refers to all of them.
#include "sites.h"
volatile long zero;
T long t_one(long x) { return x + zero; }
T long t_two(long x) { return x - zero; }
T long t_three(long x) { return x * 3 + zero; }
T long t_void(void) { return zero; }
T long t_weak(long x) { return x ^ zero; }
T fn t_choose(long x) { return x == zero ? t_one : t_two; }
static T long first(void *o, long x) { return (long)o + x; }
static T long second(void *o, long x) { return (long)o - x; }
const struct ops const_ops = {first, second};
struct ops global_ops = {second, first};
struct object object_itself = {1, &const_ops, t_one, 0};
struct object *global_object = &object_itself;
const struct ops *shared_ops = &global_ops;
fn pointer = t_one, table[8] = {t_one, t_two, t_three, t_one}, *table_pointer = table;
T void *t_object(long x) { return x ? &object_itself : global_object; }
T void t_change(long i, fn f, const struct ops *ops, struct object *o) {
    pointer = f; table[i & 7] = f; table_pointer = &table[i]; shared_ops = ops; global_ops = *ops; global_object = o;
    object_itself.ops = ops; object_itself.callback = f; object_itself.next = o;
}
