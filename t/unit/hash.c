/* Hash table: growth, removal while walking. */
#include "base/hash.h"

#include "tap.h"

typedef struct {
    hash_node_t node;
    char        key[16];
    bool        seen;
} item_t;

static item_t items[10000];
static hash_t table;

static void see(hash_node_t *n, void *arg)
{
    item_t *it = container_of(n, item_t, node);

    ++*(size_t *) arg;
    it->seen = true;
    if ((it - items) % 2 == 0) {
        hash_del(&table, n);
    }
}

int main(void)
{
    size_t found = 0, seen = 0, kept = 0;

    hash_init(&table);
    ok(hash_get(&table, STR("x")) == NULL, "an empty table holds nothing");
    for (size_t i = 0; i < SI_COUNT(items); i++) {
        (void) snprintf(items[i].key, sizeof(items[i].key), "key %zu", i);
        hash_put(&table, &items[i].node, str_of(items[i].key));
    }
    is_int((long long) table.count, (long long) SI_COUNT(items), "10,000 were put");
    ok(table.nslots >= table.count, "the table has grown");
    for (size_t i = 0; i < SI_COUNT(items); i++) {
        found += hash_get(&table, str_of(items[i].key)) == &items[i].node;
    }
    is_int((long long) found, (long long) SI_COUNT(items), "all are found");
    ok(hash_get(&table, STR("key")) == NULL, "the beginning of a key is not found");

    hash_each(&table, see, &seen);
    is_int((long long) seen, (long long) SI_COUNT(items), "each is seen once, though half were removed meanwhile");
    is_int((long long) table.count, (long long) SI_COUNT(items) / 2, "half are left");
    for (size_t i = 0; i < SI_COUNT(items); i++) {
        kept += (hash_get(&table, str_of(items[i].key)) != NULL) == (i % 2 == 1);
    }
    is_int((long long) kept, (long long) SI_COUNT(items), "the right half");
    hash_free(&table);
    ok(hash_get(&table, STR("key 1")) == NULL, "nothing after hash_free()");

    ok(hash_bytes(1, "abc", 3) == hash_bytes(1, "abc", 3), "the same bytes have the same hash");
    ok(hash_bytes(1, "abc", 3) != hash_bytes(2, "abc", 3), "another seed, another hash");
    ok(hash_bytes(1, "12345678", 8) != hash_bytes(1, "12345678\0", 9), "the length counts");
    return done_testing();
}
