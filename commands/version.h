/* version: the one place that says which Sluice this is. */
#ifndef COMMANDS_VERSION_H
#define COMMANDS_VERSION_H

#define SLUICE_VERSION "0.1.0"

#endif
