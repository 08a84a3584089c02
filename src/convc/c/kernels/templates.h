/* Every kernel for one dtype, then its table. Included twice, with F64 as 0 and as 1, by each isa_*.c file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../pad.h"
#include "../lrn.h"
#include "../norm.h"
#include "../local.h"
#include "../pool.h"
#include "../resize.h"
#include "../winograd.h"

#ifndef CONVC_TEMPLATES_ONCE
#define CONVC_TEMPLATES_ONCE
#if defined(__GNUC__)
#define ALWAYS_INLINE __attribute__((always_inline))
#else
#define ALWAYS_INLINE __forceinline
#endif
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif
#if defined(__GNUC__)
#define PREFETCH(p) __builtin_prefetch((p), 1) /* to write */
#define PREFETCH_READ(p) __builtin_prefetch((p), 0)
#else
#define PREFETCH(p) ((void)(p))
#define PREFETCH_READ(p) ((void)(p))
#endif
#define CACHE_LINE 64
/* Keeps a vector in its register, where GCC would rather load it again for each use. */
#if defined(__GNUC__) && !defined(__clang__) && (defined(__x86_64__) || defined(__i386__)) && defined(VEC_AVX512)
#define KEEP(v) __asm__("" : "+v"(v))
#elif defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && (defined(VEC_AVX2) || defined(VEC_SSE2))
#define KEEP(v) __asm__("" : "+x"(v))
#else
#define KEEP(v) ((void)(v))
#endif
/* A loop over registers. */
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)
/* How pack_tmpl.c fills one vector of a packed row. */
enum piece_kind { ZERO, LOAD, LOAD_EVEN, LOAD_MASKED, MERGE, STRIDED };
#endif

#include "../dtype.h"
#include "../vec.h"

#include "recipe_tmpl.c"
#include "patch_tmpl.c"
#include "pack_tmpl.c"
#include "gemm_tmpl.c"
#include "im2col_tmpl.c"
#include "depthwise_tmpl.c"
#include "depthwise_data_tmpl.c"
#include "direct_tile_tmpl.c"
#include "direct_tmpl.c"
#include "direct_outs_tmpl.c"
#include "direct_outs_weight_tmpl.c"
#include "direct_weight_tmpl.c"
#include "winograd_tmpl.c"
#include "winograd_weight_tmpl.c"
#include "pad_tmpl.c"
#include "pool_tmpl.c"
#include "pool_index_tmpl.c"
#include "max_pool_tmpl.c"
#include "unpool_tmpl.c"
#include "resize_tmpl.c"
#include "math_tmpl.c"
#include "eltwise_tmpl.c"
#include "reduce_tmpl.c"
#include "norm_tmpl.c"
#include "softmax_tmpl.c"
#include "lrn_tmpl.c"
#include "avg_pool_tmpl.c"
#include "local_tmpl.c"

static const convc_kernels FN(table) = {
    .mr = MR,
    .nr = NR,
    .kc = KC,
    .lda = LDA,
    .block_rows = BLOCK_ROWS,
    .block_cols = BLOCK_COLS,
    .gemm_workspace = COPY_SCRATCH + sizeof(real) * (BLOCK_ROWS * BLOCK_COLS + KC * BLOCK_COLS + MR * LDA + BLOCK_COLS + NR),
    .gemm_task = FN(gemm_task),
    .sum_parts = FN(sum_parts),
    .pack_a_panel = FN(pack_a_panel),
    .pack_b_panel = FN(pack_b_panel),
    .copy_block = FN(copy_block),
    .turn = FN(turn),
    .copy_cols = MAX_COLS,
    .copy_scratch = COPY_SCRATCH,
    .store_block = FN(store_block),
    .col2im_plane = FN(col2im_plane),
    .direct_rows = FN(direct_rows),
    .direct_outs = FN(direct_outs),
    .outs_scratch = OUTS_SCRATCH,
    .outs_weight = FN(outs_weight),
    .outs_weight_scratch = sizeof(real) * SUM_PIXELS * NR,
    .depthwise_rows = FN(depthwise_rows),
    .direct_pack = FN(direct_pack),
    .depthwise_data = FN(depthwise_data),
    .weight_rows = FN(weight_rows),
    .weight_channels = FN(weight_channels),
    .pad_rows = FN(pad_rows),
    .fold_planes = FN(fold_planes),
    .lanes = VL,
    .winograd_kc = WINOGRAD_KC,
    .winograd_lda = WINOGRAD_LDA,
    .winograd_chunk = WINOGRAD_CHUNK,
    .winograd_workspace = WINOGRAD_WORKSPACE,
    .winograd_load = FN(winograd_load),
    .winograd_weights = FN(winograd_weights),
    .winograd_inputs = FN(winograd_inputs),
    .winograd_outputs = FN(winograd_outputs),
    .winograd_grads = FN(winograd_grads),
    .winograd_sums = FN(winograd_sums),
    .winograd_weight_rows = FN(winograd_weight_rows),
    .max_pool = FN(max_pool),
    .pool_workspace = POOL_WORKSPACE,
    .pool_move = FN(pool_move),
    .index_reach = FN(index_reach),
    .avg_pool = FN(avg_pool),
    .avg_pool_backward = FN(avg_pool_backward),
    .avg_pool_workspace = AVG_POOL_WORKSPACE,
    .resize_rows = FN(resize_rows),
    .resize_rows_backward = FN(resize_rows_backward),
    .resize_workspace = RESIZE_WORKSPACE,
    .map = FN(map),
    .softmax = FN(softmax),
    .softmax_backward = FN(softmax_backward),
    .softmax_rows = FN(softmax_rows),
    .softmax_backward_rows = FN(softmax_backward_rows),
    .cross_entropy = FN(cross_entropy),
    .cross_entropy_backward = FN(cross_entropy_backward),
    .sum_line = FN(sum_line),
    .norm_moments = FN(norm_moments),
    .norm_sums = FN(norm_sums),
    .norm_map = FN(norm_map),
    .layer_norm = FN(layer_norm),
    .layer_norm_backward = FN(layer_norm_backward),
    .lrn_pixels = LRN_PIXELS,
    .lrn = FN(lrn),
    .lrn_backward = FN(lrn_backward),
    .local_workspace = LOCAL_WORKSPACE,
    .local_forward = FN(local_forward),
    .local_weight = FN(local_weight),
    .local_data = FN(local_data),
};
