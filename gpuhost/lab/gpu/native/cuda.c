/* A libcuda for GPUs that cannot compute: it loads, and says that there is no device. */

#define API __attribute__((visibility("default")))

enum { CUDA_SUCCESS = 0, CUDA_ERROR_NO_DEVICE = 100 };

API int cuInit(unsigned flags)
{
    (void)flags;
    return CUDA_ERROR_NO_DEVICE;
}

API int cuDriverGetVersion(int *version)
{
    *version = 0;
    return CUDA_SUCCESS;
}

API int cuDeviceGetCount(int *count)
{
    *count = 0;
    return CUDA_ERROR_NO_DEVICE;
}

API int cuGetErrorString(int error, const char **text)
{
    *text = error == CUDA_SUCCESS ? "no error" : "no CUDA-capable device is detected";
    return CUDA_SUCCESS;
}

/* Triton takes a libcuda without these two for a broken one, and ends. */
API int cuPointerGetAttribute(void *data, int attribute, unsigned long long pointer)
{
    (void)data, (void)attribute, (void)pointer;
    return CUDA_ERROR_NO_DEVICE;
}

API int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    (void)device;
    *flags = 0;
    *active = 0;
    return CUDA_ERROR_NO_DEVICE;
}
