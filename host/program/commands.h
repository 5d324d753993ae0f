/* commands.h -- the commands of the program, each in a file of its own. */
#ifndef DG_COMMANDS_H
#define DG_COMMANDS_H
#include "program/cli.h"

extern const Command command_generate, command_verify, command_info, command_bench, command_convert, command_cache, command_decode,
    command_encode, command_eval, command_pack, command_sweep;
#endif
