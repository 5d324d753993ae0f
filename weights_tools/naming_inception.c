/* naming_inception.c -- the Inception network of the FID under the names that OpenAI and NVIDIA gave its tensors, after the scopes of
 * TensorFlow's graph, brought to those of pytorch-fid.                                                                        */
#include "weights_tools/naming.h"
#include <stdio.h>
#include <string.h>

enum { BLOCKS = 11, BRANCHES = 10 };
typedef struct {
    const char *scope, *name; /* the block's "tower_1_conv_2" and "branch3x3dbl_3" */
} Branch;
typedef Branch Kind[BRANCHES + 1];
static const Kind mixed_5 = {
    {"conv", "branch1x1"},
    {"tower_conv", "branch5x5_1"},
    {"tower_conv_1", "branch5x5_2"},
    {"tower_1_conv", "branch3x3dbl_1"},
    {"tower_1_conv_1", "branch3x3dbl_2"},
    {"tower_1_conv_2", "branch3x3dbl_3"},
    {"tower_2_conv", "branch_pool"},
};
static const Kind mixed_6a = {
    {"conv", "branch3x3"},
    {"tower_conv", "branch3x3dbl_1"},
    {"tower_conv_1", "branch3x3dbl_2"},
    {"tower_conv_2", "branch3x3dbl_3"},
};
static const Kind mixed_6 = {
    {"conv", "branch1x1"},
    {"tower_conv", "branch7x7_1"},
    {"tower_conv_1", "branch7x7_2"},
    {"tower_conv_2", "branch7x7_3"},
    {"tower_1_conv", "branch7x7dbl_1"},
    {"tower_1_conv_1", "branch7x7dbl_2"},
    {"tower_1_conv_2", "branch7x7dbl_3"},
    {"tower_1_conv_3", "branch7x7dbl_4"},
    {"tower_1_conv_4", "branch7x7dbl_5"},
    {"tower_2_conv", "branch_pool"},
};
static const Kind mixed_7a = {
    {"tower_conv", "branch3x3_1"},       {"tower_conv_1", "branch3x3_2"},     {"tower_1_conv", "branch7x7x3_1"},
    {"tower_1_conv_1", "branch7x7x3_2"}, {"tower_1_conv_2", "branch7x7x3_3"}, {"tower_1_conv_3", "branch7x7x3_4"},
};
static const Kind mixed_7 = {
    {"conv", "branch1x1"},
    {"tower_conv", "branch3x3_1"},
    {"tower_mixed_conv", "branch3x3_2a"},
    {"tower_mixed_conv_1", "branch3x3_2b"},
    {"tower_1_conv", "branch3x3dbl_1"},
    {"tower_1_conv_1", "branch3x3dbl_2"},
    {"tower_1_mixed_conv", "branch3x3dbl_3a"},
    {"tower_1_mixed_conv_1", "branch3x3dbl_3b"},
    {"tower_2_conv", "branch_pool"},
};
static const struct {
    const char *scope, *name;
    const Branch *branch;
} blocks[BLOCKS] = {
    {"mixed.", "Mixed_5b.", mixed_5},    {"mixed_1.", "Mixed_5c.", mixed_5},  {"mixed_2.", "Mixed_5d.", mixed_5},
    {"mixed_3.", "Mixed_6a.", mixed_6a}, {"mixed_4.", "Mixed_6b.", mixed_6},  {"mixed_5.", "Mixed_6c.", mixed_6},
    {"mixed_6.", "Mixed_6d.", mixed_6},  {"mixed_7.", "Mixed_6e.", mixed_6},  {"mixed_8.", "Mixed_7a.", mixed_7a},
    {"mixed_9.", "Mixed_7b.", mixed_7},  {"mixed_10.", "Mixed_7c.", mixed_7},
};
static const Branch stem[] = {
    {"conv", "Conv2d_1a_3x3"},   {"conv_1", "Conv2d_2a_3x3"}, {"conv_2", "Conv2d_2b_3x3"},
    {"conv_3", "Conv2d_3b_1x1"}, {"conv_4", "Conv2d_4a_3x3"}, {NULL, NULL},
};
static const Branch leaves[] = {
    {"weight", "conv.weight"}, {"beta", "bn.bias"}, {"mean", "bn.running_mean"}, {"var", "bn.running_var"}, {NULL, NULL},
};

static const char *look_up(const Branch *b, const char *scope) {
    while (b->scope && strcmp(b->scope, scope)) b++;
    return b->name;
}
bool naming_inception(char name[CANONICAL_NAME]) {
    static const char layers[] = "layers.";
    if (!strcmp(name, "output.weight") || !strcmp(name, "output.bias")) {
        bool bias = !strcmp(name, "output.bias");
        snprintf(name, CANONICAL_NAME, "%s", bias ? "fc.bias" : "fc.weight");
        return true;
    }
    if (strncmp(name, layers, sizeof layers - 1)) return false;
    char scope[CANONICAL_NAME], *dot;
    snprintf(scope, sizeof scope, "%s", name + sizeof layers - 1);
    if (!(dot = strrchr(scope, '.'))) return false;
    *dot = 0;
    const char *leaf = look_up(leaves, dot + 1), *block = "", *unit = NULL;
    if (!strchr(scope, '.')) unit = look_up(stem, scope);
    for (int i = 0; i < BLOCKS && !unit; i++) {
        size_t n = strlen(blocks[i].scope);
        if (strncmp(scope, blocks[i].scope, n)) continue;
        for (char *c = scope + n; *c; c++) /* some have their scopes joined by dots, some by underscores */
            if (*c == '.') *c = '_';
        block = blocks[i].name, unit = look_up(blocks[i].branch, scope + n);
    }
    return leaf && unit && snprintf(name, CANONICAL_NAME, "%s%s.%s", block, unit, leaf) < CANONICAL_NAME;
}
