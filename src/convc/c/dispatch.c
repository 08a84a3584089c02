/* CPU features, looked up once -> one table of kernels a dtype. CONVC_ISA or convc_set_isa overrides. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "impl.h"

#if defined(__x86_64__) || defined(_M_X64)
#define X86_64 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

typedef const convc_kernels *const kernel_pair[2];
extern kernel_pair convc_kernels_scalar;

#if X86_64
extern kernel_pair convc_kernels_sse2, convc_kernels_avx2, convc_kernels_avx512;

static void cpuid(unsigned leaf, unsigned r[4]) {
#if defined(_MSC_VER) && !defined(__clang__)
    __cpuidex((int *)r, (int)leaf, 0);
#else
    if (!__get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3])) memset(r, 0, 4 * sizeof *r);
#endif
}

/* The register states that the operating system saves; 0 where it does not say. */
static unsigned saved_state(void) {
    unsigned r[4];
    cpuid(1, r);
    if (!(r[2] >> 27 & 1)) return 0;
#if defined(_MSC_VER) && !defined(__clang__)
    return (unsigned)_xgetbv(0);
#else
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}

static int always(void) { return 1; }

static int has_avx2(void) {
    unsigned one[4], seven[4];
    cpuid(1, one);
    cpuid(7, seven);
    return (saved_state() & 0x6) == 0x6 && (one[2] >> 12 & 1) && (one[2] >> 28 & 1) && (seven[1] >> 5 & 1);
}

static int has_avx512(void) {
    const unsigned f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    unsigned seven[4];
    cpuid(7, seven);
    return has_avx2() && (saved_state() & 0xe6) == 0xe6 && (seven[1] & f_dq_bw_vl) == f_dq_bw_vl;
}
#elif defined(__aarch64__) || defined(_M_ARM64)
extern kernel_pair convc_kernels_neon;
static int always(void) { return 1; }
#else
static int always(void) { return 1; }
#endif

/* In rising order: the last one that the machine has is the default. */
static const struct isa {
    const char *name;
    kernel_pair *kernels;
    int (*available)(void);
} isas[] = {
    {"scalar", &convc_kernels_scalar, always},
#if X86_64
    {"sse2", &convc_kernels_sse2, always},
    {"avx2", &convc_kernels_avx2, has_avx2},
    {"avx512", &convc_kernels_avx512, has_avx512},
#elif defined(__aarch64__) || defined(_M_ARM64)
    {"neon", &convc_kernels_neon, always},
#endif
};
#define ISAS ((int)(sizeof isas / sizeof *isas))

static const struct isa *_Atomic chosen;

static const struct isa *find(const char *name) {
    for (int i = 0; i < ISAS; i++)
        if (name && strcmp(isas[i].name, name) == 0 && isas[i].available()) return &isas[i];
    return NULL;
}

static const struct isa *current(void) {
    const struct isa *isa = atomic_load_explicit(&chosen, memory_order_acquire);
    if (isa) return isa;
    isa = find(getenv("CONVC_ISA"));
    for (int i = ISAS - 1; !isa; i--)
        if (isas[i].available()) isa = &isas[i];
    const struct isa *none = NULL; /* convc_set_isa may have been called meanwhile */
    return atomic_compare_exchange_strong(&chosen, &none, isa) ? isa : none;
}

const convc_kernels *convc_kernels_for(convc_dtype dtype) { return (*current()->kernels)[dtype == CONVC_F64]; }

const char *convc_get_isa(void) { return current()->name; }

int convc_isa_available(const char *name) { return find(name) != NULL; }

convc_status convc_set_isa(const char *name) {
    const struct isa *isa = find(name);
    if (!isa) {
        char have[64] = "";
        for (int i = 0; i < ISAS; i++)
            if (isas[i].available()) {
                if (*have) strcat(have, ", ");
                strcat(have, isas[i].name);
            }
        return convc_fail(CONVC_INVALID_VALUE, "name must be an instruction set that this machine has (%s), got %s", have,
                          name ? name : "nothing");
    }
    atomic_store_explicit(&chosen, isa, memory_order_release);
    return CONVC_OK;
}
