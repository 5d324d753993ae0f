/* main.c -- the program: hands the command line to its command, prints the error, if any, and exits. */
#include "program/commands.h"
#include "device/device.h"
#include "base/version.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const Command *const commands[] = {&command_generate, &command_verify, &command_info,
                                          &command_convert,  &command_bench,  &command_cache};

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        printf("dg_cuda %s (devices: %s)\n", DG_VERSION, device_list());
        return EXIT_DONE;
    }
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error like a full disk */
    Error e = {0};
    int code = cli_run(commands, (int)(sizeof commands / sizeof *commands), argc, argv, &e);
    if (fflush(stdout) != 0 && code == EXIT_DONE) dg_error(&e, "standard output: writing failed"), code = EXIT_FAILED;
    if (e.text[0]) fprintf(stderr, "dg_cuda: %s\n", e.text);
    return code;
}
