/* The GEMM kernel: C (m, n) = A (m, k) @ B (k, n), blocked so that the packed block of B stays in L2 and one panel of A in L1.
 * A packed: panels of at most MR rows, row-major with leading dimension LDA; a constant stride lets the register block reach all
 * rows from one pointer. An A that is as good as packed is read where it is. B packed: panels of NR columns, row-major (k, NR), zero
 * beyond the last column up to a whole vector. */

#undef MR
#undef NV
#undef NR
#undef KC
#undef LDA
#undef BLOCK_COLS
#undef BLOCK_ROWS

/* The register block: MR x NV accumulators, NV vectors of B and a broadcast of A must fit the ISA's registers. */
#if defined(VEC_AVX512)
#define MR 14
#define NV 2
#elif defined(VEC_AVX2)
#define MR 6
#define NV 2
#elif defined(VEC_NEON)
#define MR 8
#define NV 3
#elif defined(VEC_SSE2)
#define MR 6
#define NV 2
#else
#define MR 4
#define NV 4
#endif
#define NR (NV * VL)

/* A panel of A stays in L1 while those of B pass by from L2. LDA is an odd number of cache lines. */
#if F64
#define KC 256
#define LDA 264
#define BLOCK_COLS 160
#else
#define KC 384
#define LDA 400
#define BLOCK_COLS 320
#endif
/* The packed block of B is KC by BLOCK_COLS: about half of a 1 MiB L2. */
#define BLOCK_ROWS 266 /* of a block of C that is gathered in the workspace: 256 channels in whole panels */

typedef struct FN(tail) {
    const real *row_bias, *col_bias; /* of this tile, or NULL */
    int accumulate, relu;
} FN(tail);

/* c (mr, nv * VL) = a (mr, kc) @ b (kc, NR), then the tail. Rows of a are lda apart, its columns lka; or if that is 0, where the
 * offsets say. All int arguments, and mostly lda, are constants wherever this is inlined. */
static inline ALWAYS_INLINE void FN(tile)(const int mr, const int nv, const int64_t lda, const int lka,
                                          const int32_t *restrict offset, int64_t kc, const real *restrict a,
                                          const real *restrict b, real *restrict c, int64_t ldc, const FN(tail) * tail) {
    vec acc[MR][NV];
    for (int i = 0; i < mr; i++) { /* C is needed only at the end: fetch it while the sum runs */
        PREFETCH(c + i * ldc);
        PREFETCH(c + i * ldc + nv * VL - 1);
    }
    EACH (i, mr)
        EACH (v, nv) acc[i][v] = vzero();
    _Pragma("GCC unroll 4") for (int64_t k = 0; k < kc; k++) {
        vec bk[NV];
        const real *ak = lka ? a : a + offset[k];
        EACH (v, nv) bk[v] = vload(b + v * VL);
        EACH (i, mr) {
            vec ai = vset1(ak[i * lda]);
            EACH (v, nv) acc[i][v] = vfma(ai, bk[v], acc[i][v]);
        }
        a += lka;
        b += NR;
    }
    if (tail->accumulate)
        EACH (i, mr)
            EACH (v, nv) acc[i][v] = vadd(vload(c + i * ldc + v * VL), acc[i][v]);
    if (tail->row_bias)
        EACH (i, mr)
            EACH (v, nv) acc[i][v] = vadd(acc[i][v], vset1(tail->row_bias[i]));
    if (tail->col_bias)
        EACH (i, mr)
            EACH (v, nv) acc[i][v] = vadd(acc[i][v], vload(tail->col_bias + v * VL));
    if (tail->relu)
        EACH (i, mr)
            EACH (v, nv) acc[i][v] = vmax_or_second(vzero(), acc[i][v]);
    EACH (i, mr)
        EACH (v, nv) vstore(c + i * ldc + v * VL, acc[i][v]);
}

/* clang-format off */
/* f for blocks of mr rows, a constant wherever f is inlined. */
#define HEIGHT(rows, f, ...) case rows: if (rows <= MR) f(rows <= MR ? rows : 1, __VA_ARGS__); break;
#define EVERY_HEIGHT(f, ...)                                                                        \
    switch (mr) {                                                                                   \
        HEIGHT(1, f, __VA_ARGS__) HEIGHT(2, f, __VA_ARGS__) HEIGHT(3, f, __VA_ARGS__)               \
        HEIGHT(4, f, __VA_ARGS__) HEIGHT(5, f, __VA_ARGS__) HEIGHT(6, f, __VA_ARGS__)               \
        HEIGHT(7, f, __VA_ARGS__) HEIGHT(8, f, __VA_ARGS__) HEIGHT(9, f, __VA_ARGS__)               \
        HEIGHT(10, f, __VA_ARGS__) HEIGHT(11, f, __VA_ARGS__) HEIGHT(12, f, __VA_ARGS__)            \
        HEIGHT(13, f, __VA_ARGS__) HEIGHT(14, f, __VA_ARGS__)                                       \
    default: break;                                                                                 \
    }
/* clang-format on */

/* Every height up to MR, at full and at half width, has a register block of its own. */
static void FN(tile_full)(int64_t mr, int64_t kc, const real *a, const real *b, real *c, int64_t ldc, const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), NV, LDA, 1, NULL, kc, a, b, c, ldc, tail)
}

static void FN(tile_narrow)(int64_t mr, int64_t kc, const real *a, const real *b, real *c, int64_t ldc, const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), 1, LDA, 1, NULL, kc, a, b, c, ldc, tail)
}

/* The same for rows of A that were not packed. */
static void FN(full_in_place)(int64_t mr, int64_t kc, const real *a, int64_t lda, const real *b, real *c, int64_t ldc,
                              const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), NV, lda, 1, NULL, kc, a, b, c, ldc, tail)
}

static void FN(narrow_in_place)(int64_t mr, int64_t kc, const real *a, int64_t lda, const real *b, real *c, int64_t ldc,
                                const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), 1, lda, 1, NULL, kc, a, b, c, ldc, tail)
}

/* A panel of A, rows lda apart: LDA if they are packed. */
typedef struct FN(panel) {
    const real *a;
    int64_t mr, lda;
} FN(panel);

/* Is A as good as packed? Its rows are contiguous and evenly spaced, and those of tall panels no further apart than packed ones: they
 * might meet in a few sets of L1. */
static int FN(is_in_place)(const matrix *a, int64_t k) {
    int plain =
        !a->window && a->cols.size[3] == k && (k == 1 || a->cols.stride[3] == 1) && a->rows.size[3] == axis_length(&a->rows);
    return plain && (MR <= 8 || llabs(a->rows.stride[3]) <= LDA);
}

/* ---- blocks ---- */

/* The part of a job that one task computes. */
typedef struct FN(block) {
    const gemm_job *job;
    int64_t group, m0, m1, n0, n1; /* ends exclusive */
    int64_t k0, k1;                /* all of k, or one split of it */
    real *c;                       /* element (m0, n0): of the output, or of a block gathered in the workspace */
    int64_t ldc;
    real *b, *a_panel, *col_bias;
    void *scratch;
} FN(block);

static matrix FN(group_of)(const matrix *a, int64_t offset) {
    matrix moved = *a;
    moved.data = (const real *)a->data + offset;
    return moved;
}

static void FN(pack_b_panels)(const FN(block) * t, int64_t k0, int64_t k1) {
    matrix b = FN(group_of)(&t->job->b, t->group * t->job->b_group);
    FN(copy_block)(&b, k0, k1, t->n0, t->n1, t->b, NR, NR * (k1 - k0), t->scratch);
}

static inline void FN(any_tile)(const FN(panel) * p, int64_t width, int64_t kc, const real *b, real *c, int64_t ldc,
                                const FN(tail) * tail) {
    if (p->lda == LDA) (width <= VL ? FN(tile_narrow) : FN(tile_full))(p->mr, kc, p->a, b, c, ldc, tail);
    else (width <= VL ? FN(narrow_in_place) : FN(full_in_place))(p->mr, kc, p->a, p->lda, b, c, ldc, tail);
}

/* All tiles of one A panel: rows m..m + mr of C, k0..k1 deep. The first block of k starts C, the last one ends it. */
static void FN(row_of_tiles)(const FN(block) * t, int64_t m, int64_t k0, int64_t k1, const FN(panel) * panel) {
    const gemm_job *job = t->job;
    int64_t mr = panel->mr;
    int last = k1 == t->k1;
    FN(tail) tail = {.accumulate = job->accumulate || k0 > t->k0, .relu = last && job->activation == CONVC_RELU};
    if (last && job->row_bias) tail.row_bias = (const real *)job->row_bias + t->group * job->m + m;
    for (int64_t n = t->n0; n < t->n1; n += NR) {
        int64_t width = min_i64(NR, t->n1 - n);
        const real *b = job->packed_b ? (const real *)job->packed_b + (t->group * job->n_panels * NR + n) * job->k + k0 * NR
                                      : t->b + (n - t->n0) * (k1 - k0);
        real *c = t->c + (m - t->m0) * t->ldc + n - t->n0;
        if (last && job->col_bias) tail.col_bias = t->col_bias + n - t->n0;
        if (width == NR) {
            FN(any_tile)(panel, NR, k1 - k0, b, c, t->ldc, &tail);
            continue;
        }
        real edge[MR * NR];
        if (tail.accumulate)
            for (int64_t i = 0; i < mr; i++) {
                FN(zero_run)(edge + i * NR + width, NR - width);
                FN(copy_run)(edge + i * NR, c + i * t->ldc, width, 1);
            }
        FN(any_tile)(panel, width, k1 - k0, b, edge, NR, &tail);
        for (int64_t i = 0; i < mr; i++) FN(copy_run)(c + i * t->ldc, edge + i * NR, width, 1);
    }
}

static void FN(multiply_block)(const FN(block) * t) {
    const gemm_job *job = t->job;
    matrix a = FN(group_of)(&job->a, t->group * job->a_group);
    int64_t k_blocks = max_i64(1, ceil_div(t->k1 - t->k0, KC)); /* an empty sum is zero */
    int in_place = !job->packed_a && FN(is_in_place)(&a, job->k);
    for (int64_t kb = 0; kb < k_blocks; kb++) {
        int64_t k0 = t->k0 + split_point(t->k1 - t->k0, k_blocks, kb), k1 = t->k0 + split_point(t->k1 - t->k0, k_blocks, kb + 1);
        if (!job->packed_b) FN(pack_b_panels)(t, k0, k1);
        for (int64_t m = t->m0, next; m < t->m1; m = next) {
            next = panel_end(job->m, job->m_panels, m);
            FN(panel) panel = {t->a_panel, next - m, LDA};
            if (job->packed_a) panel.a = (const real *)job->packed_a + ((t->group * k_blocks + kb) * job->m + m) * LDA;
            else if (in_place) panel = (FN(panel)){(const real *)a.data + m * a.rows.stride[3] + k0, next - m, a.rows.stride[3]};
            else FN(copy_block)(&a, m, next, k0, k1, t->a_panel, LDA, 0, t->scratch);
            FN(row_of_tiles)(t, m, k0, k1, &panel);
        }
    }
}

/* ---- the block of C where the output's rows or columns are not plain: gathered, multiplied, put back ---- */

/* Stores a block whose columns are contiguous in C, not its rows. */
static void FN(store_transposed)(const FN(block) * t, real *c) {
    const gemm_job *job = t->job;
    int64_t row[4];
    axis_digits(&job->c_rows, t->m0, row);
    for (int64_t i = t->m0, down; i < t->m1; i += down) {
        int64_t col[4];
        down = min_i64(t->m1 - i, job->c_rows.size[3] - row[3]);
        axis_digits(&job->c_cols, t->n0, col);
        for (int64_t j = t->n0, across; j < t->n1; j += across) {
            across = min_i64(t->n1 - j, job->c_cols.size[3] - col[3]);
            real *to = c + FN(address)(&job->c_rows, row) + FN(address)(&job->c_cols, col);
            FN(turn)(t->c + (i - t->m0) * t->ldc + j - t->n0, t->ldc, across, down, to, job->c_cols.stride[3]);
            col[3] += across - 1;
            FN(advance)(&job->c_cols, col);
        }
        row[3] += down - 1;
        FN(advance)(&job->c_rows, row);
    }
}

static void FN(move_block)(const FN(block) * t, real *c, int store) {
    const gemm_job *job = t->job;
    int64_t row[4];
    if (store && job->c_rows.stride[3] == 1 && job->c_cols.stride[3] != 1 && job->c_rows.size[3] > 1) {
        FN(store_transposed)(t, c);
        return;
    }
    axis_digits(&job->c_rows, t->m0, row);
    for (int64_t i = t->m0; i < t->m1; i++, FN(advance)(&job->c_rows, row)) {
        real *line = c + FN(address)(&job->c_rows, row), *mine = t->c + (i - t->m0) * t->ldc;
        int64_t col[4], stride = job->c_cols.stride[3];
        axis_digits(&job->c_cols, t->n0, col);
        for (int64_t j = t->n0; j < t->n1;) {
            int64_t run = min_i64(t->n1 - j, job->c_cols.size[3] - col[3]);
            real *out = line + FN(address)(&job->c_cols, col);
            if (!store) FN(copy_run)(mine, out, run, stride);
            else if (stride == 1) FN(copy_run)(out, mine, run, 1);
            else
                for (int64_t x = 0; x < run; x += VL) {
                    int left = (int)min_i64(VL, run - x);
                    vstore_step(out + x * stride, stride, FN(load_some)(mine + x, 1, 0, left), left);
                }
            j += run;
            mine += run;
            col[3] += run - 1;
            FN(advance)(&job->c_cols, col);
        }
    }
}

static void FN(store_block)(const gemm_job *job, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *src, int64_t ld, void *c) {
    FN(block) t = {.job = job, .m0 = m0, .m1 = m1, .n0 = n0, .n1 = n1, .c = src, .ldc = ld};
    FN(move_block)(&t, c, 1);
}

static int FN(is_direct)(const FN(block) * t) {
    const gemm_job *job = t->job;
    int64_t row[4], col[4];
    axis_digits(&job->c_rows, t->m0, row);
    axis_digits(&job->c_cols, t->n0, col);
    return job->c_cols.stride[3] == 1 && col[3] + t->n1 - t->n0 <= job->c_cols.size[3] &&
           row[3] + t->m1 - t->m0 <= job->c_rows.size[3];
}

/* ---- the parts of a reduction that was split, (groups, splits, m, n) ---- */

static real *FN(part)(const gemm_job *job, int64_t group, int64_t split, int64_t row) {
    return (real *)job->parts + ((group * job->splits + split) * job->m + row) * job->n;
}

/* Pairwise and in a fixed order, so that the sum does not depend on who computed the parts. */
static void FN(sum_parts)(const gemm_job *job, int64_t group, int64_t m0, int64_t m1) {
    int64_t count = (m1 - m0) * job->n;
    for (int64_t step = 1; step < job->splits; step *= 2)
        for (int64_t s = 0; s + step < job->splits; s += 2 * step) {
            real *a = FN(part)(job, group, s, m0), *b = FN(part)(job, group, s + step, m0);
            for (int64_t j = 0; j < count; j++) a[j] += b[j];
        }
    FN(block) t = {.job = job, .m0 = m0, .m1 = m1, .n1 = job->n, .c = FN(part)(job, group, 0, m0), .ldc = job->n};
    FN(move_block)(&t, (real *)job->c + group * job->c_group, 1);
}

/* ---- a task ---- */

static void FN(gemm_task)(const gemm_job *job, int64_t task, void *workspace) {
    int64_t mt = task % job->m_tasks, nt = task / job->m_tasks % job->n_tasks;
    int64_t split = task / job->m_tasks / job->n_tasks % job->splits;
    FN(block) t = {.job = job, .group = task / job->m_tasks / job->n_tasks / job->splits};
    t.k0 = split_point(job->k, job->splits, split);
    t.k1 = split_point(job->k, job->splits, split + 1);
    t.m0 = split_point(job->m, job->m_panels, split_point(job->m_panels, job->m_tasks, mt));
    t.m1 = split_point(job->m, job->m_panels, split_point(job->m_panels, job->m_tasks, mt + 1));
    t.n0 = split_point(job->n_panels, job->n_tasks, nt) * NR;
    t.n1 = min_i64(split_point(job->n_panels, job->n_tasks, nt + 1) * NR, job->n);

    t.scratch = workspace;
    real *gathered = (real *)((char *)workspace + COPY_SCRATCH);
    t.b = gathered + BLOCK_ROWS * BLOCK_COLS;
    t.a_panel = t.b + KC * BLOCK_COLS;
    t.col_bias = t.a_panel + MR * LDA;
    if (job->col_bias) {
        FN(copy_run)(t.col_bias, (const real *)job->col_bias + t.group * job->n + t.n0, t.n1 - t.n0, 1);
        FN(zero_run)(t.col_bias + t.n1 - t.n0, NR);
    }
    real *c = (real *)job->c + t.group * job->c_group;
    int direct = job->splits > 1 || FN(is_direct)(&t);
    if (job->splits > 1) {
        t.c = FN(part)(job, t.group, split, t.m0) + t.n0;
        t.ldc = job->n;
    } else if (direct) {
        t.c = c + axis_offset(&job->c_rows, t.m0) + axis_offset(&job->c_cols, t.n0);
        t.ldc = job->c_rows.stride[3];
    } else {
        t.c = gathered;
        t.ldc = BLOCK_COLS;
        if (job->accumulate) FN(move_block)(&t, c, 0);
    }
    FN(multiply_block)(&t);
    if (!direct) FN(move_block)(&t, c, 1);
}

/* ---- packing beforehand ---- */

static void FN(pack_a_panel)(const gemm_job *job, int64_t group, int64_t panel, void *packed, void *scratch) {
    matrix a = FN(group_of)(&job->a, group * job->a_group);
    int64_t m = split_point(job->m, job->m_panels, panel), end = split_point(job->m, job->m_panels, panel + 1);
    int64_t k_blocks = ceil_div(job->k, KC);
    for (int64_t kb = 0; kb < k_blocks; kb++)
        FN(copy_block)(&a, m, end, split_point(job->k, k_blocks, kb), split_point(job->k, k_blocks, kb + 1),
                       (real *)packed + ((group * k_blocks + kb) * job->m + m) * LDA, LDA, 0, scratch);
}

static void FN(pack_b_panel)(const gemm_job *job, int64_t group, int64_t panel, void *packed, void *scratch) {
    matrix b = FN(group_of)(&job->b, group * job->b_group);
    int64_t n = panel * NR;
    FN(copy_block)(&b, 0, job->k, n, min_i64(n + NR, job->n), (real *)packed + (group * job->n_panels * NR + n) * job->k, NR, 0,
                   scratch);
}
