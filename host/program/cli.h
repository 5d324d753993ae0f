/* cli.h -- commands and their options as tables: parsing, corrections of misspellings, help texts, values as JSON.
 * To add an option: one row in its command's table; parsing, --help and the run manifest follow from it.          */
#ifndef DG_CLI_H
#define DG_CLI_H
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

typedef enum {
    OPTION_FLAG,   /* bool; also --flag=0, --flag 1 */
    OPTION_INT,    /* int within [lo, hi]; a default below 0 and lo stands for "not given" */
    OPTION_DOUBLE, /* double within [lo, hi]; NAN stands for "not given" */
    OPTION_TEXT,   /* const char *, not empty; NULL stands for "not given" */
    OPTION_TEXTS,  /* TextList: the word behind it and those that follow, up to the next that begins with a dash */
    OPTION_CHOICE, /* int: the index of one of the words in `value` */
    OPTION_SWITCH  /* a choice with the words off and on, which may also be written 0 and 1, or on by the name alone */
} OptionKind;
typedef struct {
    const char **item; /* freed by args_free */
    int count;
} TextList;
typedef struct {
    const char *group;   /* heading in the help, on the first option of a group */
    const char *name;    /* without dashes, as the help prints it; '-' and '_' are the same, capitals do not matter */
    const char *aliases; /* other spellings, separated by spaces, or NULL; one of a single letter also takes one dash: -o */
    OptionKind kind;
    size_t offset;     /* of the value in the command's options */
    const char *value; /* in the help: N, FILE; of a choice: its words, "heun|euler" */
    double lo, hi;
    /* Two rows may have one value, a choice of which the one knows the first words by other names: only one of them can be given. */
    bool image; /* the images depend on it: a run with another value does not continue an earlier one */
    const char *help;
} Option;
typedef struct {
    const char *name, *settings; /* "steps=18 rho=7" */
    const char *help;
    const char *source; /* where the settings are published */
} Preset;

typedef struct {
    const char *names, *answer; /* options of other programs, separated by spaces; what to do here instead */
} ForeignOption;

typedef struct Command Command;
typedef struct {
    const Command *command;
    void *options; /* filled */
    bool *given;   /* [command->options] */
    bool *typed;   /* the same, but by a preset */
    const char **operand;
    int operands;
} Args;
struct Command {
    const char *name, *operands, *summary, *details; /* operands: "CASE...", or "" */
    int operands_min, operands_max;
    size_t options_bytes;
    void (*defaults)(void *options);
    const Option *option;
    int options;
    const Preset *preset; /* for an option named "preset"; or NULL. Ended by one without a name */
    const ForeignOption *foreign;
    int foreigns;
    int (*run)(const Args *a, Error *e); /* an exit code; when not EXIT_DONE, e has the sentence */
};

/* Parses, runs, or prints a help text. Returns the exit code; with e->text not empty there is an error to print. */
int cli_run(const Command *const *command, int commands, int argc, char **argv, Error *e);
/* The same as a function, of a command that is not run: its defaults, and what the words say. Texts stay the words'. False: e says which
 * word is wrong. args_free either way.                                                                                    */
bool args_parse(const Command *c, int words, char **word, Args *out, Error *e);
void args_free(Args *a);
/* Sets the options that a JSON object names, by name or alias; `skip` has the members that are somebody else's, separated by spaces.
 * Texts stay the JSON's. False: e says which member is unknown or does not fit.                                          */
bool options_from_json(const Option *option, int count, void *options, const Json *j, const char *skip, Error *e);
const Option *command_option(const Command *c, const char *name); /* by name or alias; NULL: it has none of this name */
bool args_given(const Args *a, const char *name);
bool args_typed(const Args *a, const char *name);                  /* on the command line itself */
const Preset *preset_find(const Preset *table, const char *name);  /* NULL: none has this name */
void option_json(const Option *o, const void *options, Text *out); /* its value */
void text_json_double(Text *out, double value);                    /* the shortest digits that give value back */
#endif
