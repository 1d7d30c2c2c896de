// The kernels for the CPU, and how one is run.
#include "kernels.cu"

extern "C" void host_launch(void (*kernel)(const Params), const Params *params, const unsigned int *grid,
                            unsigned int threads) {
  host::block_size = {threads, 1, 1};
  host::grid_size = {grid[0], grid[1], 1};
  host::body = [=] { kernel(*params); };
  for (unsigned int y = 0; y < grid[1]; y++) {
    for (unsigned int x = 0; x < grid[0]; x++) {
      host::block_index = {x, y, 0};
      host::run_block(threads);
    }
  }
}
