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
