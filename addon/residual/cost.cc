#include "residual/cost.h"

namespace smore {
namespace {

double product_operations(int64_t out, int64_t in) { return 2.0 * out * in; }

// Of all nodes of a level.
double router_operations(const Level& level, double nodes) {
  const Router& router = level.router;
  if (!router.two_layer) return 0;  // its only product is the one for all levels
  const bool cosine = router.score == Score::kCosine;
  const int outputs = cosine ? router.keys : level.experts;
  const double second = product_operations(outputs, router.hidden);
  return nodes * (second + (cosine ? product_operations(level.experts, router.keys) : 0));
}

}  // namespace

double row_operations(const SitePlan& site) {
  const Mixture& mixture = site.mixture;
  if (mixture.combine == Combine::kSum) return 0;
  double sum = product_operations(mixture.projection, mixture.inputs) +
               product_operations(site.slots.router_rows, mixture.projection) +
               product_operations(mixture.outputs, mixture.root().width);
  for (size_t l = 0; l < mixture.levels.size(); ++l) {
    const Level& level = mixture.levels[l];
    const double pairs = static_cast<double>(level.pairs);
    const double nodes = pairs / level.chosen;
    sum += router_operations(level, nodes);
    if (l == 0) continue;
    // Elsewhere W is linear in what it reads, and multiplies a node's children at once.
    const double products = mixture.combine == Combine::kTreeAll ? pairs : nodes;
    sum += products * product_operations(level.width, mixture.levels[l - 1].width);
  }
  return sum;
}

double pair_operations(const SitePlan& site, int level) {
  const Mixture& mixture = site.mixture;
  const Level& at = mixture.levels[level];
  const int width = mixture.combine == Combine::kSum ? mixture.outputs : at.width;
  return product_operations(at.rank, mixture.inputs) + product_operations(width, at.rank);
}

}  // namespace smore
