// Call sites of C++, a construct in each function.
#include "sites.h"
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

struct Shape {
    long a = zero;
    virtual ~Shape();
    virtual long area(long) const;
    virtual long grow(long);
};
struct Named { long n = zero; virtual ~Named(); virtual long name(long); };
struct Square : Shape { long area(long) const override; };
struct Both : Shape, Named { long b = zero; long area(long) const override; long name(long) override; };
struct Top { long t = zero; virtual ~Top(); virtual long top(long); };
struct Left : virtual Top { long l = zero; long top(long) override; };
struct Right : virtual Top { long r = zero; virtual long right(long); };
struct Bottom : Left, Right { long top(long) override; long right(long) override; };
struct Last final : Shape { long area(long) const override; long grow(long) override; };
struct Holder { long x; Shape *shape; std::unique_ptr<Shape> owned; std::function<long(long)> function; Both both; };

T Shape::~Shape() { zero = a; }
T long Shape::area(long x) const { return x + a; }
T long Shape::grow(long x) { return a += x; }
T Named::~Named() { zero = n; }
T long Named::name(long x) { return x - n; }
T long Square::area(long x) const { return x * a; }
T long Both::area(long x) const { return x * b; }
T long Both::name(long x) { return x + b + n; }
T Top::~Top() { zero = t; }
T long Top::top(long x) { return x + t; }
T long Left::top(long x) { return x + l; }
T long Right::right(long x) { return x + r; }
T long Bottom::top(long x) { return x + l + r; }
T long Bottom::right(long x) { return x - l - r; }
T long Last::area(long x) const { return x * a + 1; }
T long Last::grow(long x) { return x * a + 2; }

extern "C" {
Shape *global_shape;
static Shape *local_shape;
T Shape *t_make(long x) {
    local_shape = x & 8 ? new Shape : global_shape;
    if (x & 16) global_shape = new Last;
    if (x == 3) return new Both;
    if (x == 4) return new Last;
    return x & 1 ? new Shape : new Square;
}
T Top *t_top(long x) { if (x & 1) return new Bottom; return new Left; }

S long s_virt__pointer(Shape *s, long x) { return s->area(x) + 1; }
S long s_virt__reference(Shape &s, long x) { return s.grow(x) + 1; }
S long s_virt__tail(Shape *s, long x) { return s->grow(x); }
S long s_virt__second_base(Both *b, long x) { return static_cast<Named *>(b)->name(x) + b->b; }
S long s_virt__base_of_two(Named *n, long x) { return n->name(x) + 1; }
S long s_virt__virtual_base(Top *t, long x) { return t->top(x) + 1; }
S long s_virt__through_virtual_base(Right *r, long x) { return r->top(x) + r->right(x); }
S long s_virt__global(long x) { return global_shape->area(x) + 1; }
S long s_virt__static(long x) { return local_shape->area(x) + 1; }
S long s_virt__field(Holder &h, long x) { return h.shape->area(x) + 1; }
S long s_virt__owned(Holder &h, long x) { return h.owned->grow(x) + 1; }
S long s_virt__loop(Shape *s, long n) { long sum = 0; for (long i = 0; i < n; i++) sum += s->area(i); return sum; }
S long s_virt__array(Shape **s, long n) { long sum = 0; for (long i = 0; i < n; i++) sum += s[i]->area(i); return sum; }
S long s_virt_direct__of_result(long x) { return t_make(x)->area(x) + t_one(1); }
S void s_virt__delete(Shape *s) { delete s; }
S long s_virt__twice(Shape *s, Shape *other) { return s->grow(1) + other->grow(s->area(4)) + s->grow(5); }
S long s_virt__branch(Shape *s, long x) { if (x > 9) return s->area(x) * 3; return s ? s->grow(x) - 1 : 7; }
S long s_virt_direct__chosen(Shape *a, Shape *b, long x) { return (x > t_one(x) ? a : b)->area(x) + 1; }
S long s_direct__final(Last *l, long x) { return l->grow(x) + l->area(x); }
S long s_direct__qualified(Both *b, long x) { return b->Both::area(x) + 1; }
S long s_direct__known_type(long x) { Square s; return s.area(x) + 1; }
S long s_reg__lambda_pointer(long (*f)(long), long x) { return f(x) + 1; }
S long s_reg__member_pointer(Shape *s, long (Shape::*m)(long), long x) { return (s->*m)(x) + 1; }
S long o_ext__throw(long x) { if (x > 100) throw std::runtime_error("large"); return x; }
}
namespace {
// A function object that keeps its pointer at an offset.
struct Callback { void *data; long (*call)(void *, long); long operator()(long x) const { return call(data, x); } };
}
extern "C" {
S long s_tab__callback_field(Callback *c, long x) { return c->call(c->data, x) + 1; }
S long s_tab__vector(std::vector<long (*)(long)> &list, long x) {
    long sum = 0; for (auto f : list) sum += f(x); return sum;
}
S long s_tab__vector_index(std::vector<long (*)(long)> *list, long x) { return list->data()[x](x) + 1; }
// std::function asks for its target first: without optimisation, the call is in a function of the library.
S long o_tab__function(const std::function<long(long)> &f, long x) { return f(x) + 1; }
S long o_tab__function_field(Holder &h, long x) { return h.function(x) + 1; }
}
