/* Transposed convolution: the gradient of a convolution's data, run forward. Its output plays the part of that convolution's image, its
 * input that of the output, and the weights stay what they are; so its own gradients are a convolution and a gradient of weights. */
#include <stdlib.h>
#include <string.h>

#include "pad.h"

/* x (n, c, *size), w (c, k / groups, *kernel), y (n, k, *out). The output's own size says how much output_padding it has. */
static convc_status check_transpose(const convc_tensor *x, const char *x_name, const convc_tensor *w, const char *w_name,
                                    const convc_conv_params *p, const convc_tensor *y, const char *y_name) {
    int64_t shape[CONVC_MAX_NDIM], extra[CONVC_MAX_SPATIAL] = {0};
    TRY(convc_check_any(x, x_name, 3, CONVC_MAX_NDIM));
    TRY(convc_check_any(w, w_name, x->ndim, x->ndim));
    TRY(convc_check_any(y, y_name, x->ndim, x->ndim));
    for (int i = 0; i < x->ndim - 2; i++) { /* what wraps here is too large there */
        uint64_t reach = (uint64_t)(x->shape[i + 2] - 1) * (uint64_t)p->stride[i];
        reach += (uint64_t)p->dilation[i] * (uint64_t)(w->shape[i + 2] - 1) + 1;
        extra[i] = (int64_t)((uint64_t)y->shape[i + 2] + (uint64_t)p->pad_before[i] + (uint64_t)p->pad_after[i] - reach);
    }
    TRY(convc_conv_transpose_output_shape(x->ndim, x->shape, w->shape, p, extra, shape));
    TRY(convc_check_shape(y, y_name, shape, x->ndim));
    TRY(convc_check_tensor(x, x_name, x->ndim, x->ndim));
    TRY(convc_check_tensor(w, w_name, x->ndim, x->ndim));
    TRY(convc_check_tensor(y, y_name, x->ndim, x->ndim));
    TRY(convc_check_dtype(w, w_name, x, x_name));
    return convc_check_dtype(y, y_name, x, x_name);
}

/* ---- forward ---- */

/* Outputs that no tap reaches are the bias, activated. */
static convc_status fill_with_bias(const conv *c) {
    int64_t channels = c->x.c, item = convc_itemsize(c->dtype);
    char *values = calloc((size_t)channels, (size_t)item);
    if (!values) return convc_fail(CONVC_NO_MEMORY, "no memory for the bias");
    convc_tensor to = {.data = values, .dtype = c->dtype, .ndim = 1, .shape = {channels}, .strides = {item}}, from = to;
    from.data = (void *)(uintptr_t)c->bias;
    convc_status status = CONVC_OK;
    if (c->bias && c->activation == CONVC_RELU) status = convc_relu_forward(&from, &to);
    else if (c->bias) memcpy(values, c->bias, (size_t)(channels * item));
    padding p = {.dtype = c->dtype, .copy = c->x, .mode = CONVC_PAD_REPLICATE};
    p.image = (volume){.data = values, .n = c->x.n, .c = channels, .size = {1, 1, 1}, .stride_c = 1};
    if (status == CONVC_OK) status = convc_pad(&p);
    free(values);
    return status;
}

convc_status convc_conv_transpose_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                          const convc_conv_params *p, const convc_tensor *y) {
    void *copy;
    TRY(check_transpose(x, "x", w, "weight", p, y, "out"));
    TRY(convc_check_output(y, "out", x->ndim, x->ndim));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", w, "weight"));
    if (bias) {
        TRY(convc_check_tensor(bias, "bias", 1, 1));
        TRY(convc_check_shape(bias, "bias", &y->shape[1], 1));
        TRY(convc_check_dtype(bias, "bias", x, "x"));
        TRY(convc_check_disjoint(y, "out", bias, "bias"));
    }
    conv c = convc_conv_of(y, w, x, p);
    TRY(convc_check_algorithm(&c));
    if (x->shape[0] == 0) return CONVC_OK;
    c.activation = p->activation;
    TRY(convc_contiguous(bias, &c.bias, &copy));
    convc_status status = convc_reaches_all(&c) ? CONVC_OK : fill_with_bias(&c);
    if (status == CONVC_OK) status = convc_data_gradient(&c);
    free(copy);
    return status;
}

/* ---- gradients ---- */

convc_status convc_conv_transpose_backward_data(const convc_tensor *grad_y, const convc_tensor *w, const convc_conv_params *p,
                                                const convc_tensor *grad_x) {
    TRY(check_transpose(grad_x, "grad_x", w, "weight", p, grad_y, "grad"));
    TRY(convc_check_output(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_x, "grad_x", w, "weight"));
    conv c = convc_conv_of(grad_y, w, grad_x, p);
    TRY(convc_check_algorithm(&c));
    return grad_x->shape[0] == 0 ? CONVC_OK : convc_run_conv(&c);
}

convc_status convc_conv_transpose_backward_weight(const convc_tensor *grad_y, const convc_tensor *x, const convc_conv_params *p,
                                                  const convc_tensor *grad_w) {
    TRY(check_transpose(x, "x", grad_w, "grad_weight", p, grad_y, "grad"));
    TRY(convc_check_output(grad_w, "grad_weight", 3, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_w, "grad_weight", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_w, "grad_weight", x, "x"));
    conv c = convc_conv_of(grad_y, grad_w, x, p);
    TRY(convc_check_algorithm(&c));
    return x->shape[0] == 0 ? convc_fill_zero(grad_w) : convc_weight_gradient(&c);
}
