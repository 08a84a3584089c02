/* convc.h - the public C API of convc: convolutional networks over strided tensors.
 *
 * A tensor is what a NumPy array is: a pointer, a dtype, a shape and byte strides. Every operator is one function over tensors.
 * Images are (n, c, [d,] [h,] w) in this order whatever their memory layout: a channels-last image is the same tensor with
 * permuted strides. Inputs may have any strides, negative and zero ones included; outputs must not alias inputs or themselves.
 *
 * Every function checks its arguments, returns a status, and on failure writes nothing and leaves a sentence in
 * convc_last_error(). Two things leave an output unfinished: an interrupt, and wrong indices that a gradient of pooling or
 * unpooling comes upon. No function aborts, prints, or keeps a pointer that it was given. */
#ifndef CONVC_H
#define CONVC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CONVC_VERSION "0.1.0"
#define CONVC_MAX_NDIM 5
#define CONVC_MAX_SPATIAL 3

typedef enum convc_status {
    CONVC_OK = 0,
    CONVC_INVALID_VALUE = 1, /* a size, parameter or shape that cannot be served */
    CONVC_INVALID_TYPE = 2,  /* dtypes that do not go together */
    CONVC_NO_MEMORY = 3,
    CONVC_INTERRUPTED = 4 /* the interrupt check asked to stop; outputs are unfinished */
} convc_status;

typedef enum convc_dtype { CONVC_F32 = 0, CONVC_F64 = 1, CONVC_I64 = 2 } convc_dtype;
typedef enum convc_activation { CONVC_IDENTITY = 0, CONVC_RELU = 1 } convc_activation;

/* Functions of single elements. GELU is x Phi(x), GELU_TANH its approximation by tanh, SILU x sigmoid(x). */
typedef enum convc_function {
    CONVC_LEAKY_RELU = 0,
    CONVC_GELU = 1,
    CONVC_GELU_TANH = 2,
    CONVC_SILU = 3,
    CONVC_SIGMOID = 4,
    CONVC_TANH = 5
} convc_function;

/* What happens when the stride does not divide the way left: drop the rest, refuse, or (pools) add a partial window. */
typedef enum convc_fit { CONVC_FLOOR = 0, CONVC_EXACT = 1, CONVC_CEIL = 2 } convc_fit;

typedef struct convc_tensor {
    void *data;
    convc_dtype dtype;
    int ndim;
    int64_t shape[CONVC_MAX_NDIM];
    int64_t strides[CONVC_MAX_NDIM]; /* bytes */
} convc_tensor;

/* How a convolution may be computed. AUTO chooses what is fastest, and Winograd's algorithm is among the choices: its rounding
 * errors are some five times those of a sum of products, and a NaN or an infinity reaches all outputs of its tile, up to 4 x 4. */
typedef enum convc_algorithm {
    CONVC_AUTO = 0,
    CONVC_DIRECT = 1, /* sums of products, computed in the fastest way */
    CONVC_GEMM = 2, /* sums of products, always as an implicit matrix product */
    CONVC_WINOGRAD = 3 /* F(4x4, 3x3) or F(2x2, 3x3); refused unless the kernel's last two axes are 3 x 3 with stride 1 */
} convc_algorithm;

/* What stands in the padding of a convolution's image: zeros; the image mirrored at its outermost elements, which are not repeated;
 * these elements; or the image once more, as if it went round. */
typedef enum convc_pad_mode {
    CONVC_PAD_ZEROS = 0,
    CONVC_PAD_REFLECT = 1, /* less padding than the image is long */
    CONVC_PAD_REPLICATE = 2,
    CONVC_PAD_CIRCULAR = 3 /* at most as much */
} convc_pad_mode;

/* One entry per spatial dimension of the image, in its order; the kernel's size is the weight's shape. */
typedef struct convc_conv_params {
    int64_t stride[CONVC_MAX_SPATIAL], dilation[CONVC_MAX_SPATIAL];
    int64_t pad_before[CONVC_MAX_SPATIAL], pad_after[CONVC_MAX_SPATIAL];
    int64_t groups;
    convc_fit fit;
    convc_activation activation;
    convc_algorithm algorithm;
    convc_pad_mode pad_mode;
} convc_conv_params;

typedef struct convc_pool_params {
    int64_t kernel[CONVC_MAX_SPATIAL], stride[CONVC_MAX_SPATIAL], dilation[CONVC_MAX_SPATIAL];
    int64_t pad_before[CONVC_MAX_SPATIAL], pad_after[CONVC_MAX_SPATIAL];
    convc_fit fit;
} convc_pool_params;

/* LINEAR is bilinear in two dimensions, trilinear in three. */
typedef enum convc_resize_mode { CONVC_NEAREST = 0, CONVC_NEAREST_EXACT = 1, CONVC_LINEAR = 2 } convc_resize_mode;

/* The coordinates are PyTorch's. With by_scale the output is floor(scale * extent) long, and the scale is used as it is, else `size`. */
typedef struct convc_resize_params {
    convc_resize_mode mode;
    int align_corners; /* LINEAR only: the outermost elements' centres stay where they are, else their outer edges */
    int by_scale;
    int64_t size[CONVC_MAX_SPATIAL];
    double scale[CONVC_MAX_SPATIAL];
} convc_resize_params;

/* The sentence that explains the calling thread's last failure. */
const char *convc_last_error(void);

/* ---- shapes ---- */
convc_status convc_conv_output_shape(int ndim, const int64_t *x_shape, const int64_t *w_shape, const convc_conv_params *params,
                                     int64_t *y_shape);
convc_status convc_pool_output_shape(int ndim, const int64_t *x_shape, const convc_pool_params *params, int64_t *y_shape);
convc_status convc_resize_output_shape(int ndim, const int64_t *x_shape, const convc_resize_params *params, int64_t *y_shape);
/* w_shape has ndim + 1 entries, and the first must be the number of output positions. */
convc_status convc_local_output_shape(int ndim, const int64_t *x_shape, const int64_t *w_shape, const convc_conv_params *params,
                                      int64_t *y_shape);
/* The padding that keeps the extent at stride 1; an odd total puts the extra element after. */
convc_status convc_same_padding(int64_t kernel, int64_t dilation, int64_t *before, int64_t *after);
/* Every spatial size is the one given. */
convc_status convc_adaptive_output_shape(int ndim, const int64_t *x_shape, const int64_t *output_size, int64_t *y_shape);
/* The shape that max pooling brings to x_shape: `output_size` where it is not NULL and less than a stride off, else what a last window
 * that fits exactly would give. params->dilation and ->fit are not read. */
convc_status convc_unpool_output_shape(int ndim, const int64_t *x_shape, const convc_pool_params *params,
                                       const int64_t *output_size, int64_t *y_shape);
/* Columns shape (n, c * prod(kernel), positions); params->groups, ->activation and ->pad_mode are not read. */
convc_status convc_im2col_shape(int ndim, const int64_t *x_shape, const int64_t *kernel, const convc_conv_params *params,
                                int64_t *cols_shape);

/* ---- convolution: x (n, c, *size), w (k, c / groups, *kernel), bias (k) or NULL, y (n, k, *out) ---- */
convc_status convc_conv_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                const convc_conv_params *params, const convc_tensor *y);
convc_status convc_conv_backward_data(const convc_tensor *grad_y, const convc_tensor *w, const convc_conv_params *params,
                                      const convc_tensor *grad_x);
convc_status convc_conv_backward_weight(const convc_tensor *grad_y, const convc_tensor *x, const convc_conv_params *params,
                                        const convc_tensor *grad_w);
/* The sum over every axis but 1; serves linear layers too. */
convc_status convc_backward_bias(const convc_tensor *grad_y, const convc_tensor *grad_bias);

/* ---- transposed convolution: x (n, c, *size), w (c, k / groups, *kernel), bias (k) or NULL, y (n, k, *out) ----
 * Each pixel of x adds its multiple of the kernel to y: the gradient of a convolution's data, as an operator. The size of y says how much
 * output_padding it has; `fit` is not read, and the only padding is with zeros. */
convc_status convc_conv_transpose_output_shape(int ndim, const int64_t *x_shape, const int64_t *w_shape,
                                               const convc_conv_params *params, const int64_t *output_padding, int64_t *y_shape);
convc_status convc_conv_transpose_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                          const convc_conv_params *params, const convc_tensor *y);
convc_status convc_conv_transpose_backward_data(const convc_tensor *grad_y, const convc_tensor *w,
                                                const convc_conv_params *params, const convc_tensor *grad_x);
convc_status convc_conv_transpose_backward_weight(const convc_tensor *grad_y, const convc_tensor *x,
                                                  const convc_conv_params *params, const convc_tensor *grad_w);

/* ---- locally connected, a convolution without parameter sharing: x (n, c, *size), w (positions, k, c, *kernel), bias
 * (positions, k) or NULL, y (n, k, *out) in one or two spatial dimensions; positions = prod(out), the last dimension fastest.
 * params->groups must be 1; ->algorithm is not read ---- */
convc_status convc_local_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                 const convc_conv_params *params, const convc_tensor *y);
convc_status convc_local_backward_data(const convc_tensor *grad_y, const convc_tensor *w, const convc_conv_params *params,
                                       const convc_tensor *grad_x);
convc_status convc_local_backward_weight(const convc_tensor *grad_y, const convc_tensor *x, const convc_conv_params *params,
                                         const convc_tensor *grad_w);
/* The sum over the batch. */
convc_status convc_local_backward_bias(const convc_tensor *grad_y, const convc_tensor *grad_bias);

/* ---- plans ---- */
/* A plan holds packed weights, the bias and checked shapes; running it is safe from many threads at once.
 * x and y give shapes and strides to prepare for (their data is not read); a run may differ in strides and in n. */
typedef struct convc_plan convc_plan;
convc_status convc_plan_create(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                               const convc_conv_params *params, const convc_tensor *y, convc_plan **plan);
convc_status convc_plan_run(const convc_plan *plan, const convc_tensor *x, const convc_tensor *y);
void convc_plan_destroy(convc_plan *plan);

/* ---- matrices ---- */
/* cols (n, c * prod(kernel), positions), rows in the order (c, *kernel). */
convc_status convc_im2col(const convc_tensor *x, const int64_t *kernel, const convc_conv_params *params,
                          const convc_tensor *cols);
/* The adjoint: adds every column entry to the pixel that it came from; x is overwritten. */
convc_status convc_col2im(const convc_tensor *cols, const int64_t *kernel, const convc_conv_params *params,
                          const convc_tensor *x);
/* c = a @ b, or c += a @ b. */
convc_status convc_gemm(const convc_tensor *a, const convc_tensor *b, int accumulate, const convc_tensor *c);

/* ---- fully connected: x (n, in), w (out, in), bias (out) or NULL, y (n, out) ---- */
convc_status convc_linear_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                  convc_activation activation, const convc_tensor *y);
convc_status convc_linear_backward_data(const convc_tensor *grad_y, const convc_tensor *w, const convc_tensor *grad_x);
convc_status convc_linear_backward_weight(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *grad_w);

/* ---- max pooling; indices (I64, or NULL forward) are flat in the input's spatial volume ---- */
convc_status convc_max_pool_forward(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y,
                                    const convc_tensor *indices);
convc_status convc_max_pool_backward(const convc_tensor *grad_y, const convc_tensor *indices, const convc_tensor *grad_x);
/* y's sizes say how many windows there are along each axis of x: shares, rounded outwards to whole elements. */
convc_status convc_adaptive_max_pool_forward(const convc_tensor *x, const convc_tensor *y, const convc_tensor *indices);
/* y = 0, but x at the places that indices name; where several have one place, the last in row-major order counts. */
convc_status convc_max_unpool_forward(const convc_tensor *x, const convc_tensor *indices, const convc_tensor *y);
convc_status convc_max_unpool_backward(const convc_tensor *grad_y, const convc_tensor *indices, const convc_tensor *grad_x);

/* ---- average pooling; params->dilation is not read ---- */
convc_status convc_avg_pool_forward(const convc_tensor *x, const convc_pool_params *params, int count_include_pad,
                                    const convc_tensor *y);
convc_status convc_avg_pool_backward(const convc_tensor *grad_y, const convc_pool_params *params, int count_include_pad,
                                     const convc_tensor *grad_x);
convc_status convc_adaptive_avg_pool_forward(const convc_tensor *x, const convc_tensor *y);
convc_status convc_adaptive_avg_pool_backward(const convc_tensor *grad_y, const convc_tensor *grad_x);
/* (the sum of x^p)^(1/p) over each window, 0 < p; where it is 0, its gradient counts as 0. */
convc_status convc_lp_pool_forward(const convc_tensor *x, double norm_type, const convc_pool_params *params,
                                   const convc_tensor *y);
convc_status convc_lp_pool_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *y, double norm_type,
                                    const convc_pool_params *params, const convc_tensor *grad_x);

/* ---- resizing: x (n, c, *size), y (n, c, *out) ---- */
convc_status convc_resize_forward(const convc_tensor *x, const convc_resize_params *params, const convc_tensor *y);
convc_status convc_resize_backward(const convc_tensor *grad_y, const convc_resize_params *params, const convc_tensor *grad_x);

/* ---- elementwise and classification ---- */
convc_status convc_relu_forward(const convc_tensor *x, const convc_tensor *y);
/* grad_x = 0 where x <= 0, else grad_y, also where x is NaN; x may be the layer's input or its output. */
convc_status convc_relu_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *grad_x);
/* y = function(x). The slope is that of LEAKY_RELU for x < 0; the others do not read it. */
convc_status convc_function_forward(convc_function function, double slope, const convc_tensor *x, const convc_tensor *y);
/* x is the function's input, for SIGMOID and TANH its output. */
convc_status convc_function_backward(convc_function function, double slope, const convc_tensor *grad_y, const convc_tensor *x,
                                     const convc_tensor *grad_x);
/* y = x where x > 0, else weight * x; weight (1), or (channels) along the channel axis of x. */
convc_status convc_prelu_forward(const convc_tensor *x, const convc_tensor *weight, int channel_axis, const convc_tensor *y);
/* grad_x and grad_weight may be NULL. */
convc_status convc_prelu_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight, int channel_axis,
                                  const convc_tensor *grad_x, const convc_tensor *grad_weight);
/* Over the last axis of tensors of any rank up to CONVC_MAX_NDIM. */
convc_status convc_softmax_forward(const convc_tensor *x, const convc_tensor *y);
convc_status convc_softmax_backward(const convc_tensor *grad_y, const convc_tensor *y, const convc_tensor *grad_x);
/* logits (n, classes), target (n) I64 class numbers; loss (n) one value a sample. */
convc_status convc_cross_entropy_forward(const convc_tensor *logits, const convc_tensor *target, const convc_tensor *loss);
/* grad_loss (n): the gradient with respect to each sample's loss. */
convc_status convc_cross_entropy_backward(const convc_tensor *grad_loss, const convc_tensor *logits, const convc_tensor *target,
                                          const convc_tensor *grad_logits);

/* ---- normalisation: weight and bias (c) or NULL; mean and inv_std = 1 / sqrt(var + eps) are F64, or NULL forward; gradients that
 * are NULL are not computed ---- */
typedef struct convc_batch_norm_params {
    int training; /* normalise by the mean and variance of x, and move the running ones by `momentum` towards them */
    double momentum, eps;
} convc_batch_norm_params;

/* x (n, c[, *size]); running_mean, running_var, mean and inv_std (c). The running statistics may be NULL in training. */
convc_status convc_batch_norm_forward(const convc_tensor *x, const convc_tensor *weight, const convc_tensor *bias,
                                      const convc_tensor *running_mean, const convc_tensor *running_var,
                                      const convc_batch_norm_params *params, const convc_tensor *y, const convc_tensor *mean,
                                      const convc_tensor *inv_std);
convc_status convc_batch_norm_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight,
                                       const convc_tensor *mean, const convc_tensor *inv_std, int training,
                                       const convc_tensor *grad_x, const convc_tensor *grad_w, const convc_tensor *grad_b);
/* x (n, c[, *size]); mean and inv_std (n, groups): of c / groups channels of an image each. */
convc_status convc_group_norm_forward(const convc_tensor *x, int64_t groups, const convc_tensor *weight, const convc_tensor *bias,
                                      double eps, const convc_tensor *y, const convc_tensor *mean, const convc_tensor *inv_std);
convc_status convc_group_norm_backward(const convc_tensor *grad_y, const convc_tensor *x, int64_t groups,
                                       const convc_tensor *weight, const convc_tensor *mean, const convc_tensor *inv_std,
                                       const convc_tensor *grad_x, const convc_tensor *grad_w, const convc_tensor *grad_b);
/* x (*rows, d), weight and bias (d), mean and inv_std (*rows). */
convc_status convc_layer_norm_forward(const convc_tensor *x, const convc_tensor *weight, const convc_tensor *bias, double eps,
                                      const convc_tensor *y, const convc_tensor *mean, const convc_tensor *inv_std);
convc_status convc_layer_norm_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight,
                                       const convc_tensor *mean, const convc_tensor *inv_std, const convc_tensor *grad_x,
                                       const convc_tensor *grad_w, const convc_tensor *grad_b);

/* x (n, c[, *size]): y = x * (k + alpha / size * the sum of the squares of `size` channels around)^-beta */
typedef struct convc_lrn_params {
    int64_t size;
    double alpha, beta, k;
} convc_lrn_params;
convc_status convc_lrn_forward(const convc_tensor *x, const convc_lrn_params *params, const convc_tensor *y);
convc_status convc_lrn_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_lrn_params *params,
                                const convc_tensor *grad_x);

/* ---- threads and instruction sets ---- */
convc_status convc_set_num_threads(int64_t n);
int convc_get_num_threads(void);
/* "scalar", "sse2", "avx2", "avx512" or "neon"; the best one that the machine has unless CONVC_ISA or convc_set_isa says. */
const char *convc_get_isa(void);
convc_status convc_set_isa(const char *name);
int convc_isa_available(const char *name);
/* Called now and then from the thread that called an operator; a nonzero answer ends the operator with CONVC_INTERRUPTED. */
void convc_set_interrupt_check(int (*check)(void));

#ifdef __cplusplus
}
#endif
#endif
