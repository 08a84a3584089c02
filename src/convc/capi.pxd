# The C API of convc.h for Cython code. Compile with convc.get_include() and link the files of convc.get_sources().
from libc.stdint cimport int64_t


cdef extern from "convc.h" nogil:
    const char *CONVC_VERSION
    enum:
        CONVC_MAX_NDIM
        CONVC_MAX_SPATIAL

    ctypedef enum convc_status:
        CONVC_OK
        CONVC_INVALID_VALUE
        CONVC_INVALID_TYPE
        CONVC_NO_MEMORY
        CONVC_INTERRUPTED

    ctypedef enum convc_dtype:
        CONVC_F32
        CONVC_F64
        CONVC_I64

    ctypedef enum convc_activation:
        CONVC_IDENTITY
        CONVC_RELU

    ctypedef enum convc_function:
        CONVC_LEAKY_RELU
        CONVC_GELU
        CONVC_GELU_TANH
        CONVC_SILU
        CONVC_SIGMOID
        CONVC_TANH

    ctypedef enum convc_fit:
        CONVC_FLOOR
        CONVC_EXACT
        CONVC_CEIL

    ctypedef enum convc_pad_mode:
        CONVC_PAD_ZEROS
        CONVC_PAD_REFLECT
        CONVC_PAD_REPLICATE
        CONVC_PAD_CIRCULAR

    ctypedef enum convc_algorithm:
        CONVC_AUTO
        CONVC_DIRECT
        CONVC_GEMM
        CONVC_WINOGRAD

    ctypedef struct convc_tensor:
        void *data
        convc_dtype dtype
        int ndim
        int64_t shape[5]
        int64_t strides[5]

    ctypedef struct convc_conv_params:
        int64_t stride[3]
        int64_t dilation[3]
        int64_t pad_before[3]
        int64_t pad_after[3]
        int64_t groups
        convc_fit fit
        convc_activation activation
        convc_algorithm algorithm
        convc_pad_mode pad_mode

    ctypedef struct convc_pool_params:
        int64_t kernel[3]
        int64_t stride[3]
        int64_t dilation[3]
        int64_t pad_before[3]
        int64_t pad_after[3]
        convc_fit fit

    ctypedef enum convc_resize_mode:
        CONVC_NEAREST
        CONVC_NEAREST_EXACT
        CONVC_LINEAR

    ctypedef struct convc_resize_params:
        convc_resize_mode mode
        int align_corners
        int by_scale
        int64_t size[3]
        double scale[3]

    ctypedef struct convc_plan:
        pass

    const char *convc_last_error()

    convc_status convc_conv_output_shape(int ndim, const int64_t *x_shape, const int64_t *w_shape,
                                         const convc_conv_params *params, int64_t *y_shape)
    convc_status convc_local_output_shape(int ndim, const int64_t *x_shape, const int64_t *w_shape,
                                          const convc_conv_params *params, int64_t *y_shape)
    convc_status convc_pool_output_shape(int ndim, const int64_t *x_shape, const convc_pool_params *params,
                                         int64_t *y_shape)
    convc_status convc_resize_output_shape(int ndim, const int64_t *x_shape, const convc_resize_params *params,
                                           int64_t *y_shape)
    convc_status convc_same_padding(int64_t kernel, int64_t dilation, int64_t *before, int64_t *after)
    convc_status convc_adaptive_output_shape(int ndim, const int64_t *x_shape, const int64_t *output_size,
                                             int64_t *y_shape)
    convc_status convc_unpool_output_shape(int ndim, const int64_t *x_shape, const convc_pool_params *params,
                                           const int64_t *output_size, int64_t *y_shape)
    convc_status convc_im2col_shape(int ndim, const int64_t *x_shape, const int64_t *kernel,
                                    const convc_conv_params *params, int64_t *cols_shape)

    convc_status convc_conv_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                    const convc_conv_params *params, const convc_tensor *y)
    convc_status convc_conv_backward_data(const convc_tensor *grad_y, const convc_tensor *w,
                                          const convc_conv_params *params, const convc_tensor *grad_x)
    convc_status convc_conv_backward_weight(const convc_tensor *grad_y, const convc_tensor *x,
                                            const convc_conv_params *params, const convc_tensor *grad_w)
    convc_status convc_backward_bias(const convc_tensor *grad_y, const convc_tensor *grad_bias)

    convc_status convc_conv_transpose_output_shape(int ndim, const int64_t *x_shape, const int64_t *w_shape,
                                                   const convc_conv_params *params, const int64_t *output_padding,
                                                   int64_t *y_shape)
    convc_status convc_conv_transpose_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                              const convc_conv_params *params, const convc_tensor *y)
    convc_status convc_conv_transpose_backward_data(const convc_tensor *grad_y, const convc_tensor *w,
                                                    const convc_conv_params *params, const convc_tensor *grad_x)
    convc_status convc_conv_transpose_backward_weight(const convc_tensor *grad_y, const convc_tensor *x,
                                                      const convc_conv_params *params, const convc_tensor *grad_w)
    convc_status convc_local_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                     const convc_conv_params *params, const convc_tensor *y)
    convc_status convc_local_backward_data(const convc_tensor *grad_y, const convc_tensor *w,
                                           const convc_conv_params *params, const convc_tensor *grad_x)
    convc_status convc_local_backward_weight(const convc_tensor *grad_y, const convc_tensor *x,
                                             const convc_conv_params *params, const convc_tensor *grad_w)
    convc_status convc_local_backward_bias(const convc_tensor *grad_y, const convc_tensor *grad_bias)

    convc_status convc_plan_create(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                   const convc_conv_params *params, const convc_tensor *y, convc_plan **plan)
    convc_status convc_plan_run(const convc_plan *plan, const convc_tensor *x, const convc_tensor *y)
    void convc_plan_destroy(convc_plan *plan)

    convc_status convc_im2col(const convc_tensor *x, const int64_t *kernel, const convc_conv_params *params,
                              const convc_tensor *cols)
    convc_status convc_col2im(const convc_tensor *cols, const int64_t *kernel, const convc_conv_params *params,
                              const convc_tensor *x)
    convc_status convc_gemm(const convc_tensor *a, const convc_tensor *b, int accumulate, const convc_tensor *c)

    convc_status convc_linear_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                      convc_activation activation, const convc_tensor *y)
    convc_status convc_linear_backward_data(const convc_tensor *grad_y, const convc_tensor *w,
                                            const convc_tensor *grad_x)
    convc_status convc_linear_backward_weight(const convc_tensor *grad_y, const convc_tensor *x,
                                              const convc_tensor *grad_w)

    convc_status convc_max_pool_forward(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y,
                                        const convc_tensor *indices)
    convc_status convc_max_pool_backward(const convc_tensor *grad_y, const convc_tensor *indices,
                                         const convc_tensor *grad_x)

    convc_status convc_adaptive_max_pool_forward(const convc_tensor *x, const convc_tensor *y,
                                                 const convc_tensor *indices)
    convc_status convc_max_unpool_forward(const convc_tensor *x, const convc_tensor *indices, const convc_tensor *y)
    convc_status convc_max_unpool_backward(const convc_tensor *grad_y, const convc_tensor *indices,
                                           const convc_tensor *grad_x)

    convc_status convc_avg_pool_forward(const convc_tensor *x, const convc_pool_params *params, int count_include_pad,
                                        const convc_tensor *y)
    convc_status convc_avg_pool_backward(const convc_tensor *grad_y, const convc_pool_params *params,
                                         int count_include_pad, const convc_tensor *grad_x)
    convc_status convc_adaptive_avg_pool_forward(const convc_tensor *x, const convc_tensor *y)
    convc_status convc_adaptive_avg_pool_backward(const convc_tensor *grad_y, const convc_tensor *grad_x)
    convc_status convc_lp_pool_forward(const convc_tensor *x, double norm_type, const convc_pool_params *params,
                                       const convc_tensor *y)
    convc_status convc_lp_pool_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *y,
                                        double norm_type, const convc_pool_params *params, const convc_tensor *grad_x)
    convc_status convc_resize_forward(const convc_tensor *x, const convc_resize_params *params, const convc_tensor *y)
    convc_status convc_resize_backward(const convc_tensor *grad_y, const convc_resize_params *params,
                                       const convc_tensor *grad_x)

    convc_status convc_relu_forward(const convc_tensor *x, const convc_tensor *y)
    convc_status convc_relu_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *grad_x)
    convc_status convc_function_forward(convc_function function, double slope, const convc_tensor *x,
                                        const convc_tensor *y)
    convc_status convc_function_backward(convc_function function, double slope, const convc_tensor *grad_y,
                                         const convc_tensor *x, const convc_tensor *grad_x)
    convc_status convc_prelu_forward(const convc_tensor *x, const convc_tensor *weight, int channel_axis,
                                     const convc_tensor *y)
    convc_status convc_prelu_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight,
                                      int channel_axis, const convc_tensor *grad_x, const convc_tensor *grad_weight)
    convc_status convc_softmax_forward(const convc_tensor *x, const convc_tensor *y)
    convc_status convc_softmax_backward(const convc_tensor *grad_y, const convc_tensor *y, const convc_tensor *grad_x)
    convc_status convc_cross_entropy_forward(const convc_tensor *logits, const convc_tensor *target,
                                             const convc_tensor *loss)
    convc_status convc_cross_entropy_backward(const convc_tensor *grad_loss, const convc_tensor *logits,
                                              const convc_tensor *target, const convc_tensor *grad_logits)

    ctypedef struct convc_batch_norm_params:
        int training
        double momentum
        double eps

    ctypedef struct convc_lrn_params:
        int64_t size
        double alpha
        double beta
        double k

    convc_status convc_batch_norm_forward(const convc_tensor *x, const convc_tensor *weight, const convc_tensor *bias,
                                          const convc_tensor *running_mean, const convc_tensor *running_var,
                                          const convc_batch_norm_params *params, const convc_tensor *y,
                                          const convc_tensor *mean, const convc_tensor *inv_std)
    convc_status convc_batch_norm_backward(const convc_tensor *grad_y, const convc_tensor *x,
                                           const convc_tensor *weight, const convc_tensor *mean,
                                           const convc_tensor *inv_std, int training,
                                           const convc_tensor *grad_x, const convc_tensor *grad_w,
                                           const convc_tensor *grad_b)
    convc_status convc_group_norm_forward(const convc_tensor *x, int64_t groups, const convc_tensor *weight,
                                          const convc_tensor *bias, double eps, const convc_tensor *y,
                                          const convc_tensor *mean, const convc_tensor *inv_std)
    convc_status convc_group_norm_backward(const convc_tensor *grad_y, const convc_tensor *x, int64_t groups,
                                           const convc_tensor *weight, const convc_tensor *mean,
                                           const convc_tensor *inv_std, const convc_tensor *grad_x,
                                           const convc_tensor *grad_w, const convc_tensor *grad_b)
    convc_status convc_layer_norm_forward(const convc_tensor *x, const convc_tensor *weight, const convc_tensor *bias,
                                          double eps, const convc_tensor *y, const convc_tensor *mean,
                                          const convc_tensor *inv_std)
    convc_status convc_layer_norm_backward(const convc_tensor *grad_y, const convc_tensor *x,
                                           const convc_tensor *weight, const convc_tensor *mean,
                                           const convc_tensor *inv_std, const convc_tensor *grad_x,
                                           const convc_tensor *grad_w, const convc_tensor *grad_b)
    convc_status convc_lrn_forward(const convc_tensor *x, const convc_lrn_params *params, const convc_tensor *y)
    convc_status convc_lrn_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_lrn_params *params,
                                    const convc_tensor *grad_x)

    convc_status convc_set_num_threads(int64_t n)
    int convc_get_num_threads()
    const char *convc_get_isa()
    convc_status convc_set_isa(const char *name)
    int convc_isa_available(const char *name)
    void convc_set_interrupt_check(int (*check)() noexcept nogil)
