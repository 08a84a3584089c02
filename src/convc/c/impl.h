/* Internal types of the C core: axes, matrices, GEMM jobs and the kernel table. No ISA and no Python in here.
 *
 * One dimension vocabulary everywhere: n batch, c in-channels, k out-channels, h w image, r s kernel, oh ow output, g groups;
 * in matrix terms m n k, with blocks mr nr kc. Images and kernels are always handled as 3-D (d, h, w). */
#ifndef CONVC_IMPL_H
#define CONVC_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "convc.h"

/* ---- errors and checks (shape.c) ---- */

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
convc_status convc_fail(convc_status status, const char *format, ...);

#define TRY(call)                                      \
    do {                                               \
        convc_status try_status = (call);              \
        if (try_status != CONVC_OK) return try_status; \
    } while (0)

/* a * b, or -1 if that is more bytes than can be addressed, or if either is negative. */
int64_t convc_times(int64_t a, int64_t b);

static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* A tensor of any dtype with a rank between the bounds, countable bytes and aligned element strides. */
convc_status convc_check_any(const convc_tensor *t, const char *name, int min_ndim, int max_ndim);
/* A real tensor with a rank between the bounds, positive extents (axis 0 may be empty) and aligned element strides. */
convc_status convc_check_tensor(const convc_tensor *t, const char *name, int min_ndim, int max_ndim);
/* The same for a tensor that is written: moreover its elements must be distinct. */
convc_status convc_check_output(const convc_tensor *t, const char *name, int min_ndim, int max_ndim);
convc_status convc_check_disjoint(const convc_tensor *out, const char *out_name, const convc_tensor *in, const char *in_name);
convc_status convc_check_dtype(const convc_tensor *t, const char *name, const convc_tensor *like, const char *like_name);
convc_status convc_check_shape(const convc_tensor *t, const char *name, const int64_t *shape, int ndim);
/* A real tensor of the other's shape and dtype. */
convc_status convc_check_like(const convc_tensor *t, const char *name, const convc_tensor *like, const char *like_name);
int64_t convc_size(const convc_tensor *t);
int64_t convc_itemsize(convc_dtype dtype);
static inline int64_t element_stride(const convc_tensor *t, int axis) { return t->strides[axis] / convc_itemsize(t->dtype); }

convc_status convc_fill_zero(const convc_tensor *t);
/* bias_grad.c: the gradient of PReLU's weight along an axis, or of a single one for axis -1; tensors that have been checked. */
convc_status convc_sum_prelu(const convc_tensor *grad_y, const convc_tensor *x, int channel_axis,
                             const convc_tensor *grad_weight);
/* The elements of a vector one after another: where they are, or in a copy that the caller frees. NULL stays NULL. */
convc_status convc_contiguous(const convc_tensor *vector, const void **data, void **copy);

/* Memory that may be large; free() gives it back (memory.c). */
void *convc_allocate(size_t bytes);

/* Memory that the calling thread keeps for next time: 64-byte aligned, of at least `bytes`, NULL if there is none. It is lent until
 * it is returned, for a signal handler may call again meanwhile; the handle says what was lent. */
typedef enum convc_kind { CONVC_WORKSPACE, CONVC_SCRATCH, CONVC_WEIGHTS, CONVC_PADDED, CONVC_KINDS } convc_kind;
typedef struct convc_loan {
    size_t size;
    void *memory;
} convc_loan;
void *convc_borrow(convc_kind kind, size_t bytes, convc_loan *loan);
void convc_return(convc_kind kind, convc_loan *loan);

/* ---- threads (threads.c) ---- */

typedef void (*convc_task)(const void *context, int64_t task, void *workspace);
/* Runs tasks 0..count-1, each once, on as many threads as `flops` of work in all are worth; each thread has its own
 * `workspace` bytes, 64-byte aligned. Fails before any task runs if there is no memory. */
convc_status convc_parallel(convc_task run, const void *context, int64_t count, double flops, size_t workspace);
/* The threads that work of this size would get. */
int convc_threads_for(double flops);

/* ---- axes and matrices ---- */

/* An index written in four mixed-radix digits, the last fastest; its address is sum(digit * stride), in elements. */
typedef struct axis {
    int64_t size[4], stride[4];
} axis;

static inline int64_t axis_length(const axis *a) { return a->size[0] * a->size[1] * a->size[2] * a->size[3]; }

static inline void axis_digits(const axis *a, int64_t index, int64_t digit[4]) {
    for (int i = 3; i > 0; i--) {
        digit[i] = index % a->size[i];
        index /= a->size[i];
    }
    digit[0] = index;
}

static inline int64_t axis_offset(const axis *a, int64_t index) {
    int64_t digit[4];
    axis_digits(a, index, digit);
    return digit[0] * a->stride[0] + digit[1] * a->stride[1] + digit[2] * a->stride[2] + digit[3] * a->stride[3];
}

static inline axis axis_plain(int64_t size, int64_t stride) { return (axis){{1, 1, 1, size}, {0, 0, 0, stride}}; }

/* The same addresses in as few digits as possible. */
axis axis_collapse(axis a);

/* Which elements of an im2col matrix lie inside the image. Position o and tap t of spatial dimension i meet at the coordinate
 * o * step[i] + t * dilation[i] - pad[i], an element only if 0 <= coordinate < extent[i]. */
typedef struct window {
    int64_t step[3], dilation[3], pad[3], extent[3];
} window;

/* A matrix that packing reads in place: a strided array, or the columns of an image, which are never stored.
 * With a window, one axis has digits (n, od, oh, ow), the other (c, kd, r, s) or (kd, r, s, c), and elements outside the image
 * are zero. */
typedef struct matrix {
    const void *data; /* address of element (0, 0); before the image by its padding */
    axis rows, cols;
    const window *window; /* NULL: every element exists */
    int taps_on_rows;
    int channel_digit; /* of the tap axis, 0 or 3; with a window only */
} matrix;

/* ---- GEMM (gemm.c) ---- */

/* C (m, n) = A (m, k) @ B (k, n), `groups` times over. Operands are packed in panels as the loops need them, or were packed
 * whole beforehand (packed_a, packed_b). The last block of k adds the bias and applies the activation. */
typedef struct gemm_job {
    convc_dtype dtype;
    int64_t m, n, k, groups;
    matrix a, b;
    const void *packed_a, *packed_b;
    void *c;
    axis c_rows, c_cols;
    const void *row_bias, *col_bias; /* contiguous, all groups one after another */
    int accumulate;
    int unsplit; /* k is not to be summed in parts */
    convc_activation activation;
    int64_t a_group, b_group, c_group; /* from group to group, in elements */

    /* Set by convc_gemm_prepare: register panels along m and n, how many tasks share them out, and into how many parts of k a
     * long reduction is split, each of which sums to a matrix of its own in `parts`. */
    const struct convc_kernels *kernels;
    int64_t m_panels, n_panels, m_tasks, n_tasks, splits;
    void *parts;
} gemm_job;

/* Fills the job's last part; comes first. */
void convc_gemm_prepare(gemm_job *job);
convc_status convc_gemm_run(gemm_job *job);
/* Runs tasks that fill the parts of a job's sum, and adds these up. */
convc_status convc_gemm_run_parts(gemm_job *job, convc_task run, const void *context, int64_t tasks, double flops,
                                  size_t workspace);
/* Elements of all groups of A or B packed whole, and the packing itself. */
int64_t convc_packed_a_size(const gemm_job *job);
int64_t convc_packed_b_size(const gemm_job *job);
convc_status convc_pack_a(const gemm_job *job, void *packed);
convc_status convc_pack_b(const gemm_job *job, void *packed);

/* ---- the kernel table (dispatch.c), one a dtype and ISA ---- */

struct conv; /* conv.h */
struct direct_tile;
struct padding; /* pad.h */
struct pool; /* pool.h */
struct avg_pool;
struct move_share;
struct resize; /* resize.h */
struct winograd_job; /* winograd.h */
struct norm_block; /* norm.h */
struct lrn_block; /* lrn.h */
struct local; /* local.h */
struct index_span; /* pool.h */
struct band;

#define WEIGHT_VECTORS 16 /* of channels that one task of a depthwise gradient sums, at most */
#define SOFTMAX_ROWS 64 /* at once, at most, */
#define SOFTMAX_GRADIENT_ROWS 512 /* which reads the rows twice, and from afar, */
#define SOFTMAX_VECTOR 16 /* and whole vectors of them, of any ISA */

/* Kernels that treat every element alike: of x (and a weight for PRELU); backward of grad_y and x (or the output, for SIGMOID and
 * TANH, or either, for RELU; and a weight). A function's gradient stands as many places after it as every other's. PRELU_TERMS are what
 * the gradient of a weight is the sum of. */
typedef enum convc_map {
    MAP_LEAKY_RELU = CONVC_LEAKY_RELU,
    MAP_GELU = CONVC_GELU,
    MAP_GELU_TANH = CONVC_GELU_TANH,
    MAP_SILU = CONVC_SILU,
    MAP_SIGMOID = CONVC_SIGMOID,
    MAP_TANH = CONVC_TANH,
    MAP_RELU,
    MAP_PRELU,
    MAP_BACKWARD,
    MAP_LEAKY_RELU_BACKWARD = MAP_BACKWARD + MAP_LEAKY_RELU,
    MAP_GELU_BACKWARD = MAP_BACKWARD + MAP_GELU,
    MAP_GELU_TANH_BACKWARD = MAP_BACKWARD + MAP_GELU_TANH,
    MAP_SILU_BACKWARD = MAP_BACKWARD + MAP_SILU,
    MAP_SIGMOID_BACKWARD = MAP_BACKWARD + MAP_SIGMOID,
    MAP_TANH_BACKWARD = MAP_BACKWARD + MAP_TANH,
    MAP_RELU_BACKWARD = MAP_BACKWARD + MAP_RELU,
    MAP_PRELU_BACKWARD = MAP_BACKWARD + MAP_PRELU,
    MAP_PRELU_TERMS
} convc_map;

/* `count` lines of `length` elements of the output, then of the inputs; steps along a line and from one to the next in elements. */
typedef struct map_lines {
    void *const *data;
    const int64_t *step, *apart;
    int64_t length, count;
} map_lines;

typedef struct convc_kernels {
    int mr, nr, kc, lda; /* register block, depth of a packed panel, row length of a packed A panel */
    int block_rows, block_cols; /* at most this much of C is gathered, this much of B packed, a task */
    size_t gemm_workspace; /* bytes */
    void (*gemm_task)(const gemm_job *job, int64_t task, void *workspace);
    /* Adds up the parts of rows m0..m1 of one group and stores the sum. */
    void (*sum_parts)(const gemm_job *job, int64_t group, int64_t m0, int64_t m1);
    void (*pack_a_panel)(const gemm_job *job, int64_t group, int64_t panel, void *packed, void *scratch);
    void (*pack_b_panel)(const gemm_job *job, int64_t group, int64_t panel, void *packed, void *scratch);
    /* Rows i0..i1, columns j0..j1 (at most copy_cols) of a matrix to row-major panels of ld columns; writes whole vectors. */
    void (*copy_block)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, void *dst, int64_t ld, int64_t panel_step,
                       void *scratch);
    /* dst (rows, cols) from src (cols, rows), both row-major. */
    void (*turn)(const void *src, int64_t src_ld, int64_t rows, int64_t cols, void *dst, int64_t dst_ld);
    int copy_cols;
    size_t copy_scratch; /* bytes */
    /* The reverse for a job's C: src, row-major, to rows m0..m1 and columns n0..n1 of c along the job's axes. */
    void (*store_block)(const gemm_job *job, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *src, int64_t ld, void *c);
    /* direct_tmpl.c, direct_outs_tmpl.c and depthwise_tmpl.c: output rows oh0..oh1 of plane (n, group, od), vectors along w, or along the
     * output channels; of plane (n, od), vectors along the channels; and the weights as the first and the last want them. */
    void (*direct_rows)(const struct conv *c, const struct direct_tile *tile, const void *packed, int64_t plane, int64_t oh0,
                        int64_t oh1, void *workspace);
    void (*direct_outs)(const struct conv *c, const struct direct_tile *tile, const void *packed, int64_t plane, int64_t oh0,
                        int64_t oh1, void *workspace);
    size_t outs_scratch; /* bytes */
    /* direct_outs_weight_tmpl.c: one part of the sums of a gradient, (taps, outs); workspace has room for them in whole panels, too. */
    void (*outs_weight)(const gemm_job *job, const struct conv *c, const struct direct_tile *tile, int64_t task, void *workspace);
    size_t outs_weight_scratch; /* bytes */
    void (*depthwise_rows)(const struct conv *c, const struct direct_tile *tile, const void *packed, int64_t plane, int64_t oh0,
                           int64_t oh1, void *workspace);
    void (*direct_pack)(const struct conv *c, int channels_last, void *packed);
    /* depthwise_data_tmpl.c: rows h0..h1 of grad_x of channel (n, group, d). */
    void (*depthwise_data)(const struct conv *c, int64_t channel, int64_t h0, int64_t h1);
    /* direct_weight_tmpl.c: grad_w of (channel, block of taps), vectors along w; of a block of taps and vectors first..end of channels. */
    void (*weight_rows)(const struct conv *c, int64_t task);
    void (*weight_channels)(const struct conv *c, int64_t block, int64_t first, int64_t end);
    /* pad_tmpl.c: fills rows of a padded copy; adds planes of one to the image. */
    void (*pad_rows)(const struct padding *p, int64_t begin, int64_t end);
    void (*fold_planes)(const struct padding *p, int64_t begin, int64_t end);
    int lanes; /* of a vector */
    /* winograd_tmpl.c: depth of a panel, row length of transformed inputs, most output panels of a task; filters loaded for plans; and its three
     * steps. */
    int winograd_kc, winograd_lda, winograd_chunk;
    size_t winograd_workspace;
    void (*winograd_load)(const struct winograd_job *job, int64_t task, void *workspace);
    void (*winograd_weights)(const struct winograd_job *job, int64_t task, void *workspace);
    void (*winograd_inputs)(const struct winograd_job *job, int64_t task, void *workspace);
    void (*winograd_outputs)(const struct winograd_job *job, int64_t task, void *workspace);
    /* winograd_weight_tmpl.c: the steps after winograd_inputs that give the gradient of the weights. */
    void (*winograd_grads)(const struct winograd_job *job, int64_t task, void *workspace);
    void (*winograd_sums)(const struct winograd_job *job, int64_t task, void *workspace);
    void (*winograd_weight_rows)(const struct winograd_job *job, int64_t task, void *workspace);
    /* im2col_tmpl.c: plane (d, h, w) = the sum of all columns of one channel; `rows` are the taps' rows, stride_l the positions'. */
    void (*col2im_plane)(const struct conv *c, const void *cols, const axis *rows, int64_t stride_l, void *plane);
    /* max_pool_tmpl.c: outputs begin..end in the order of pool_place. */
    void (*max_pool)(const struct pool *p, int64_t begin, int64_t end, void *workspace);
    size_t pool_workspace; /* bytes */
    /* unpool_tmpl.c; `how` is an enum pool_move. Returns whether all indices are valid. And the span of those of rows row0..row1 of
     * outputs of image n, all channels. */
    int (*pool_move)(const struct pool *p, const struct move_share *share, int how);
    struct index_span (*index_reach)(const struct pool *p, int64_t n, int64_t row0, int64_t row1);
    /* avg_pool_tmpl.c: outputs begin..end of channels c0..c1 (all but channels-last ones have one channel each anyway); and the
     * gradient of channels c0..c1 of image n. */
    void (*avg_pool)(const struct avg_pool *a, int64_t begin, int64_t end, int64_t c0, int64_t c1, void *workspace);
    void (*avg_pool_backward)(const struct avg_pool *a, int64_t n, int64_t c0, int64_t c1, void *workspace);
    size_t avg_pool_workspace; /* bytes */
    /* resize_tmpl.c: rows begin..end of y, and of the gradient of x, in the order of resize_row. */
    void (*resize_rows)(const struct resize *r, int64_t begin, int64_t end, void *workspace);
    void (*resize_rows_backward)(const struct resize *r, int64_t begin, int64_t end, void *workspace);
    size_t resize_workspace; /* bytes */
    /* eltwise_tmpl.c */
    void (*map)(convc_map which, const map_lines *l, double parameter);
    /* local_tmpl.c: the outputs of a task, the gradients of its weights; and what a band of outputs adds to that of x. */
    size_t local_workspace; /* bytes */
    void (*local_forward)(const struct local *l, int64_t task, void *workspace);
    void (*local_weight)(const struct local *l, int64_t task, void *workspace);
    void (*local_data)(const struct local *l, const struct band *b, void *workspace);
    /* softmax_tmpl.c: rows of n elements, steps in elements. */
    void (*softmax)(const void *x, int64_t x_step, void *y, int64_t y_step, int64_t n);
    void (*softmax_backward)(const void *grad_y, int64_t grad_step, const void *y, int64_t y_step, void *grad_x, int64_t to_step,
                             int64_t n);
    /* The same for rows that lie side by side in memory: a multiple of SOFTMAX_VECTOR, SOFTMAX_ROWS or
     * SOFTMAX_GRADIENT_ROWS at most. */
    void (*softmax_rows)(const void *x, int64_t x_step, void *y, int64_t y_step, int64_t n, int64_t rows);
    void (*softmax_backward_rows)(const void *grad_y, int64_t grad_step, const void *y, int64_t y_step, void *grad_x,
                                  int64_t to_step, int64_t n, int64_t rows);
    void (*cross_entropy)(const void *logits, int64_t step, int64_t n, int64_t target, void *loss);
    void (*cross_entropy_backward)(const void *grad_loss, const void *logits, int64_t step, int64_t n, int64_t target,
                                   void *grad_logits, int64_t to_step);
    /* reduce_tmpl.c: sums[c] += the sum of x[i * step + c * stride_c] over i < n. */
    void (*sum_line)(const void *x, int64_t step, int64_t n, int64_t stride_c, int64_t channels, double *sums);
    /* norm_tmpl.c: blocks of pixels, with rows of `ld` coefficients and what is summed for each channel; and single rows. */
    void (*norm_moments)(const struct norm_block *b, const void *coefs, int64_t ld, void *sums);
    void (*norm_sums)(const struct norm_block *b, const void *coefs, int64_t ld, void *sums);
    void (*norm_map)(const struct norm_block *b, const void *coefs, int64_t ld, void *sums);
    void (*layer_norm)(const void *x, int64_t n, const void *weight, const void *bias, double eps, void *y, double *mean,
                       double *inv_std);
    void (*layer_norm_backward)(const void *grad_y, const void *x, int64_t n, const void *weight, double mean, double inv_std,
                                void *grad_x, void *sums, void *scratch);
    /* lrn_tmpl.c: n pixels, at most lrn_pixels, of all channels. */
    int lrn_pixels;
    void (*lrn)(const struct lrn_block *b, void *workspace);
    void (*lrn_backward)(const struct lrn_block *b, void *workspace);
} convc_kernels;

const convc_kernels *convc_kernels_for(convc_dtype dtype);

/* Item i of `extent` items shared out in `parts` parts whose sizes differ by at most one. */
static inline int64_t split_point(int64_t extent, int64_t parts, int64_t i) {
    return extent / parts * i + min_i64(extent % parts, i);
}
/* The end of the part that starts at m. */
static inline int64_t panel_end(int64_t m_all, int64_t panels, int64_t m) {
    int64_t big = m_all / panels + 1, big_rows = m_all % panels * big;
    return m < big_rows ? m + big : m + big - 1;
}

#endif
