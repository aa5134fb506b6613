// Shared by the sources of the corpus. A function with call sites is named `s_KIND__CONSTRUCT`: KIND is the mechanism
// that its machine code has, several are joined by `_`. What it calls is named `t_..`, and optimisation sees neither.
#define S __attribute__((noipa, used))
#define T __attribute__((noipa, used))
typedef long (*fn)(long);
struct ops {
    long (*first)(void *, long);
    long (*second)(void *, long);
};
struct object {
    long field;
    const struct ops *ops;
    fn callback;
    struct object *next;
};
// An object as C++ has it: the table first.
struct derived {
    const struct ops *ops;
    long field;
};
#ifdef __cplusplus
extern "C" {
#endif
long t_one(long), t_two(long), t_three(long);
long t_void(void);
fn t_choose(long);
void *t_object(long);
extern fn pointer, table[8], *table_pointer;
extern struct ops global_ops;
extern struct object *global_object, object_itself;
extern const struct ops *shared_ops;
extern volatile long zero;
#ifdef __cplusplus
}
#endif
