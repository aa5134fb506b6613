/* Call sites that count themselves. Each function has one indirect site and a counter of its own, which is printed at
 * the end: "name count". The audit of a run must count the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SITE(name) static unsigned long count_##name; __attribute__((noinline, noclone))

struct chip { int (*status)(int); int (*write)(int); };
struct port { const struct chip *chip; int value; };

__attribute__((noinline)) static int add(int value) { return value + 3; }
__attribute__((noinline)) static int twice(int value) { return value * 2 + 1; }
__attribute__((noinline)) static int less(int value) { return value - 5; }

static const struct chip chips[2] = { { add, twice }, { less, add } };
static int (*volatile hook)(int) = add;
static int (*volatile steps[3])(int) = { add, twice, less };

SITE(site_field) int site_field(struct port *port)
{
    count_site_field++;
    return port->chip->write(port->value) ^ 1;
}

SITE(site_global) int site_global(int value)
{
    count_site_global++;
    return hook(value) ^ 1;
}

SITE(site_array) int site_array(int value)
{
    count_site_array++;
    return steps[(unsigned)value % 3](value) ^ 1;
}

SITE(site_argument) int site_argument(int (*step)(int), int value)
{
    count_site_argument++;
    return step(value) ^ 1;
}

SITE(site_tail) int site_tail(int (*step)(int), int value)
{
    count_site_tail++;
    return step(value);
}

SITE(site_library) int site_library(const char *text)
{
    count_site_library++;
    return atoi(text) ^ 1;
}

int main(int argc, char **argv)
{
    int times = argc > 1 ? atoi(argv[1]) : 1000;
    int value = 1;
    struct port ports[2] = { { &chips[0], 1 }, { &chips[1], 2 } };
    for (int i = 0; i < times; i++) {
        value ^= site_field(&ports[i & 1]);
        if (i % 2 == 0)
            value ^= site_global(value);
        if (i % 3 == 0)
            value ^= site_array(i / 3);
        if (i % 5 == 0)
            value ^= site_argument(i % 10 ? add : less, value);
        if (i % 7 == 0)
            value ^= site_tail(twice, value);
        if (i % 11 == 0)
            value ^= site_library("17");
    }
    fprintf(stderr, "%d\n", value);
    printf("site_field %lu\nsite_global %lu\nsite_array %lu\nsite_argument %lu\nsite_tail %lu\nsite_library %lu\n",
           count_site_field, count_site_global, count_site_array, count_site_argument, count_site_tail,
           count_site_library);
    return 0;
}
