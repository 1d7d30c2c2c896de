// All kernels of perk, in one module.
#include "params.cuh"
#include "layout.cuh"
#include "rows.cuh"
#include "formulas.cuh"
#include "elements.cuh"
#include "few_rows.cuh"
#include "decode.cuh"
