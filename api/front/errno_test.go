package front

import "syscall"

const tooManyFiles = syscall.EMFILE
