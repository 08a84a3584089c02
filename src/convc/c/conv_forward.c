/* The convolution of arrays: checked, brought to its form, run. */
#include <stdlib.h>

#include "pad.h"

static convc_status check_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                  const convc_conv_params *p, const convc_tensor *y) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    TRY(convc_check_any(w, "weight", x->ndim, x->ndim));
    TRY(convc_conv_output_shape(x->ndim, x->shape, w->shape, p, shape));
    TRY(convc_check_tensor(x, "x", x->ndim, x->ndim));
    TRY(convc_check_tensor(w, "weight", x->ndim, x->ndim));
    TRY(convc_check_output(y, "out", x->ndim, x->ndim));
    TRY(convc_check_shape(y, "out", shape, x->ndim));
    TRY(convc_check_dtype(w, "weight", x, "x"));
    TRY(convc_check_dtype(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", w, "weight"));
    if (!bias) return CONVC_OK;
    TRY(convc_check_tensor(bias, "bias", 1, 1));
    TRY(convc_check_shape(bias, "bias", &w->shape[0], 1));
    TRY(convc_check_dtype(bias, "bias", x, "x"));
    return convc_check_disjoint(y, "out", bias, "bias");
}

convc_status convc_conv_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                const convc_conv_params *p, const convc_tensor *y) {
    void *copy;
    TRY(check_forward(x, w, bias, p, y));
    conv c = convc_conv_of(x, w, y, p);
    TRY(convc_check_algorithm(&c));
    if (x->shape[0] == 0) return CONVC_OK;
    c.activation = p->activation;
    TRY(convc_contiguous(bias, &c.bias, &copy));
    convc_status status = convc_is_padded(p, x->ndim) ? convc_padded_forward(&c, p->pad_mode, NULL) : convc_run_conv(&c);
    free(copy);
    return status;
}
