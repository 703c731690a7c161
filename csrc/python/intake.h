/* The Intake class: where a producer's user records wait for its sender, and the counts of them. */
#ifndef STREAMSTORE_INTAKE_H
#define STREAMSTORE_INTAKE_H

#include "hot.h"

extern PyType_Spec ss_intake_spec;

#endif
