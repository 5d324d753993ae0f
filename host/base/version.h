/* version.h -- the version that files and reports of this program carry. */
#ifndef DG_VERSION_H
#define DG_VERSION_H
#define DG_VERSION "0.1.0"
#endif
