/* verbs - one row and one short function for each verb (protocol.h). */
#ifndef CONTROL_VERBS_H
#define CONTROL_VERBS_H

#include <stddef.h>

#include "control/request.h"

/* Read LINE and do what it says.  The client is answered here, or later, or never when it leaves.
 */
void verbs_start(struct request *request, const char *line, size_t len);

#endif
