/* judge_server: the tests' scripted judge (tests/judge_server.h) as a program, for test scripts and
 * for trying a topology without a model. Prints its port, and serves until SIGTERM or SIGINT. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/judge_server.h"

static int
usage(FILE *out)
{
    fputs("usage: judge_server [--port N] [--ledger FILE] [--script WORDS] [--then WORD] [--key "
          "KEY]\n"
          "                    [--latency SECONDS] [--flaky PERCENT] [--rude PERCENT]\n"
          "Answers POST /v1/chat/completions on 127.0.0.1 and prints its port. WORD: ok (the "
          "default: the\n"
          "arithmetic in each step is computed, with a few mistakes, alike for the same request), "
          "fenced,\n"
          "few, many, prose, garbage, empty, null, huge, half, nothing, hang, context, quota, "
          "echo, redirect,\n"
          "or a status such as 500 or 429:2 (with Retry-After). --script: words for the first "
          "calls.\n",
          out);
    return out == stdout ? 0 : 2;
}

int
main(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},   {"ledger", required_argument, NULL, 'l'},
        {"script", required_argument, NULL, 's'}, {"then", required_argument, NULL, 't'},
        {"key", required_argument, NULL, 'k'},    {"latency", required_argument, NULL, 'w'},
        {"flaky", required_argument, NULL, 'f'},  {"mode", required_argument, NULL, 'm'},
        {"rude", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    struct judge_server_options o = {0};
    struct judge_server *s;
    struct error e;
    sigset_t end;
    int option, signal_number;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p':
            o.port = atoi(optarg);
            break;
        case 'l':
            o.ledger = optarg;
            break;
        case 's':
            o.script = optarg;
            break;
        case 't':
            o.then = optarg;
            break;
        case 'k':
            o.key = optarg;
            break;
        case 'w':
            o.latency_seconds = atof(optarg);
            break;
        case 'f':
            o.flaky_percent = atoi(optarg);
            break;
        case 'r':
            o.rude_percent = atoi(optarg);
            break;
        case 'm':
            break; /* arith is the only one */
        case 'h':
            return usage(stdout);
        default:
            return usage(stderr);
        }
    }
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    signal(SIGPIPE, SIG_IGN);
    s = judge_server_start(&o, &e);
    if (!s) {
        fprintf(stderr, "judge_server: %s\n", e.text);
        return 1;
    }
    printf("%d\n", judge_server_port(s));
    fflush(stdout);
    sigwait(&end, &signal_number);
    judge_server_stop(s);
    return 0;
}
