/* The column matrix for those who want to see it, and its adjoint. Convolution itself never stores it. */
#include "conv.h"

#define COPY_FLOPS 8.0 /* moving an element costs about as much as this many flops */

/* An im2col job as conv.c's forms: the kernel is a filter bank without data. */
static conv columns_conv(const convc_tensor *x, const int64_t *kernel, const convc_conv_params *p, const int64_t *out_size) {
    convc_tensor w = *x, y = *x;
    for (int i = 2; i < x->ndim; i++) {
        w.shape[i] = kernel[i - 2];
        y.shape[i] = out_size[i - 2];
    }
    return convc_conv_of(x, &w, &y, p);
}

static convc_status check_columns(const convc_tensor *x, const char *x_name, const int64_t *kernel, const convc_conv_params *p,
                                  const convc_tensor *cols, const char *cols_name, conv *c) {
    int64_t shape[3], y[CONVC_MAX_NDIM], w[CONVC_MAX_NDIM];
    convc_conv_params plain = *p;
    plain.groups = 1;
    plain.pad_mode = CONVC_PAD_ZEROS;
    TRY(convc_check_any(x, x_name, 3, CONVC_MAX_NDIM));
    TRY(convc_check_any(cols, cols_name, 3, 3));
    TRY(convc_im2col_shape(x->ndim, x->shape, kernel, p, shape));
    TRY(convc_check_shape(cols, cols_name, shape, 3));
    TRY(convc_check_tensor(x, x_name, 3, CONVC_MAX_NDIM));
    TRY(convc_check_tensor(cols, cols_name, 3, 3));
    TRY(convc_check_dtype(cols, cols_name, x, x_name));
    TRY(convc_check_disjoint(cols, cols_name, x, x_name));
    w[0] = 1;
    w[1] = x->shape[1];
    for (int i = 2; i < x->ndim; i++) w[i] = kernel[i - 2];
    TRY(convc_conv_output_shape(x->ndim, x->shape, w, &plain, y));
    *c = columns_conv(x, kernel, &plain, y + 2);
    return CONVC_OK;
}

static axis column_rows(const conv *c, int64_t stride) {
    int64_t s = c->w.size[2], rs = c->w.size[1] * s, taps = c->w.size[0] * rs;
    return (axis){{c->x.c, c->w.size[0], c->w.size[1], s}, {taps * stride, rs * stride, s * stride, stride}};
}

typedef struct columns_job {
    const convc_kernels *kernels;
    matrix columns; /* of one image */
    conv c;
    char *cols;
    axis rows;
    int64_t positions, stride_n, stride_l; /* of cols */
    int64_t row_tasks, position_tasks;
} columns_job;

static void im2col_task(const void *context, int64_t task, void *workspace) {
    const columns_job *j = context;
    int64_t item = convc_itemsize(j->c.dtype), rows = axis_length(&j->rows);
    int64_t image = task / j->row_tasks / j->position_tasks, at = task % (j->row_tasks * j->position_tasks);
    int64_t i0 = split_point(rows, j->row_tasks, at / j->position_tasks),
            i1 = split_point(rows, j->row_tasks, at / j->position_tasks + 1);
    int64_t l0 = split_point(j->positions, j->position_tasks, at % j->position_tasks);
    int64_t l1 = split_point(j->positions, j->position_tasks, at % j->position_tasks + 1);
    matrix m = j->columns;
    m.data = (const char *)m.data + image * j->c.x.stride_n * item;
    char *tile = (char *)workspace + j->kernels->copy_scratch;
    j->kernels->copy_block(&m, i0, i1, l0, l1, tile, j->kernels->copy_cols, 0, workspace);
    gemm_job store = {.dtype = j->c.dtype, .c_rows = j->rows, .c_cols = axis_plain(j->positions, j->stride_l)};
    j->kernels->store_block(&store, i0, i1, l0, l1, tile, j->kernels->copy_cols, j->cols + image * j->stride_n * item);
}

#define ROWS_A_TASK 64

convc_status convc_im2col(const convc_tensor *x, const int64_t *kernel, const convc_conv_params *p, const convc_tensor *cols) {
    conv c;
    window w;
    TRY(check_columns(x, "x", kernel, p, cols, "out", &c));
    TRY(convc_check_output(cols, "out", 3, 3));
    if (x->shape[0] == 0) return CONVC_OK;
    columns_job j = {.kernels = convc_kernels_for(c.dtype), .c = c, .cols = cols->data, .positions = cols->shape[2]};
    conv image = c;
    image.x.n = image.y.n = 1;
    j.columns = convc_columns_of(&image, &w, 1, 0);
    j.rows = column_rows(&c, element_stride(cols, 1));
    j.stride_n = element_stride(cols, 0);
    j.stride_l = element_stride(cols, 2);
    j.row_tasks = ceil_div(cols->shape[1], ROWS_A_TASK);
    j.position_tasks = ceil_div(j.positions, j.kernels->copy_cols);
    size_t workspace = j.kernels->copy_scratch + (size_t)(ROWS_A_TASK * j.kernels->copy_cols * convc_itemsize(c.dtype));
    return convc_parallel(im2col_task, &j, x->shape[0] * j.row_tasks * j.position_tasks, COPY_FLOPS * (double)convc_size(cols),
                          workspace);
}

/* One task an image and channel: clears the plane, then adds the columns tap by tap, always in the same order. */
static void col2im_task(const void *context, int64_t task, void *workspace) {
    const columns_job *j = context;
    const conv *c = &j->c;
    int64_t item = convc_itemsize(c->dtype), n = task / c->x.c, channel = task % c->x.c;
    const char *cols = j->cols + n * j->stride_n * item;
    (void)workspace;
    j->kernels->col2im_plane(c, cols + channel * j->rows.stride[0] * item, &j->rows, j->stride_l,
                             c->x.data + (n * c->x.stride_n + channel * c->x.stride_c) * item);
}

convc_status convc_col2im(const convc_tensor *cols, const int64_t *kernel, const convc_conv_params *p, const convc_tensor *x) {
    conv c;
    TRY(check_columns(x, "x", kernel, p, cols, "cols", &c));
    TRY(convc_check_output(x, "x", 3, CONVC_MAX_NDIM));
    if (x->shape[0] == 0) return CONVC_OK;
    columns_job j = {.kernels = convc_kernels_for(c.dtype), .c = c, .cols = cols->data};
    j.rows = column_rows(&c, element_stride(cols, 1));
    j.stride_n = element_stride(cols, 0);
    j.stride_l = element_stride(cols, 2);
    return convc_parallel(col2im_task, &j, c.x.n * c.x.c, COPY_FLOPS * (double)convc_size(cols), 0);
}
