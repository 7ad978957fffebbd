#pragma once

#include <cstdint>
#include <vector>

// The intermediate representation of a mixture of low-rank experts on one linear: experts, a score,
// a selection, a normalisation, a combination, at a placement. S'MoRE trees of any depth and plain
// LoRA are values of it; a new member of the family is a loader that fills it.
//
// Letters in shapes: L levels, l = 0 the leaves; s experts of a level, F of them chosen per parent,
// r rank, d width of a level's output, u width of the projected token, k width of a key, g hidden
// width of a router.
namespace smore {

enum class Curve { kIdentity, kRelu, kTanh, kPrelu };

struct Nonlinearity {
  Curve curve = Curve::kIdentity;
  float slope = 0;  // kPrelu: max(v, 0) + slope * min(v, 0)
};

enum class Score {
  kGiven,    // 1 for every expert; there is no router
  kCosine,   // of the query and each key; keys handed to the children are of length 1
  kSoftmax,  // over the products of the query and all keys; keys handed on as stored
};

enum class Select { kAll, kTopK };  // kAll in order of expert, kTopK in falling order of score

enum class Norm {
  kNone,
  kSum,      // chosen scores divided by their sum
  kSoftmax,  // softmax over the chosen scores
};

enum class Combine {
  kSum,          // experts map to the linear's output: delta = sum_j score_j own_j; one level
  kTreeAll,      // act(own_j + W sub_j + w), weighted by score_j
  kTreeChild,    // score_j own_j + W act(sub_j) + w
  kTreeChildV2,  // score_j (own_j + W act(sub_j) + w)
};

// How a node of a level chooses among the experts.
struct Router {
  Score score = Score::kGiven;
  Select select = Select::kAll;
  Norm norm = Norm::kNone;
  bool two_layer = false;  // query = M2 act(M1 z + m1) + m2, else the query is z itself
  Nonlinearity activation;
  int inputs = 0;  // z: u + the key widths of all levels above
  int hidden = 0;  // g; 0 unless two_layer
  int keys = 0;    // k
};

struct Level {
  int experts = 0;      // s
  int chosen = 0;       // F
  int rank = 0;         // r
  int width = 0;        // d of this level's output
  float scale = 1;      // own = scale (B (A x + a) + b)
  bool biased = false;  // a and b exist
  Nonlinearity activation;
  Router router;
  int64_t pairs =
      0;  // (node, child) pairs of one token: F of this level and of all above, multiplied
};

// The mixture on one linear. Trees end in W_final; sums have neither projection nor W_final.
struct Mixture {
  int inputs = 0;
  int outputs = 0;
  Combine combine = Combine::kSum;
  int projection = 0;         // u; 0 = there is no router
  std::vector<Level> levels;  // leaves first

  const Level& root() const { return levels.back(); }
  // Chosen experts of one token, over all levels; sums choose none.
  int64_t routes() const {
    int64_t count = 0;
    if (projection == 0) return count;
    for (const Level& level : levels) count += level.pairs;
    return count;
  }
};

}  // namespace smore
