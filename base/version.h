/* version: the one place that says which Sluice this is. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define SLUICE_VERSION "0.1.0"

#endif
