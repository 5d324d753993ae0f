/* main.c -- the program: hands the command line to its command, prints the error, if any, and exits. */
#include "program/commands.h"
#include "base/mapped.h"
#include "base/processors.h"
#include "base/version.h"
#include "device/device.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const Command *const commands[] = {&command_generate, &command_decode, &command_encode, &command_eval,
                                          &command_pack,     &command_sweep,  &command_verify, &command_info,
                                          &command_convert,  &command_bench,  &command_cache};

/* Standard input, output and error that are closed would be the numbers of the next files opened, and lines meant for a reader
 * would go into those.                                                                                                     */
static void open_standard_descriptors(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
        if (fd < 0) fd = open("/", O_RDONLY | O_DIRECTORY); /* no /dev here: what is written there is refused */
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
}
int main(int argc, char **argv) {
    open_standard_descriptors();
    if (argc > 0) processors_wait_passively(argv);
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        printf("dg_cuda %s (devices: %s)\n", DG_VERSION, device_list());
        return EXIT_DONE;
    }
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error like a full disk */
    mapped_guard();
    Error e = {0};
    int code = cli_run(commands, (int)(sizeof commands / sizeof *commands), argc, argv, &e);
    bool said = fflush(stdout) == 0 && !ferror(stdout);
    if (!said && code == EXIT_DONE) dg_error(&e, "standard output: writing failed"), code = EXIT_FAILED;
    if (e.text[0]) fprintf(stderr, "dg_cuda: %s\n", e.text);
    return code;
}
