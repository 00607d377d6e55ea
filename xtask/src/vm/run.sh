#!/bin/sh
# Runs every test and says on the second serial line how each ended; the first is the kernel's.
# report.rs reads it.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=dumb RUST_BACKTRACE=1
# INSTA_WORKSPACE_ROOT, and for how many seconds the guest may run when nobody ends it.
. /wharf/environment
exec >/dev/ttyS1
stty -F /dev/ttyS1 raw
(sleep $LIFE; poweroff -f) &

# list BINARY: the names of its tests
list() {
    $1 --list --format terse $(cat /wharf/words) >/tmp/list && sed -n 's/: test$//p' /tmp/list
}

echo "system $(uname -r)"
if [ -x /wharf/check ]; then
    echo "binary the whole program"
    /wharf/one /wharf/check
fi
while read -r name binary directory; do
    echo "binary $name"
    if cd $directory && list $binary >/tmp/tests; then
        xargs -n 1 -P $(nproc) /wharf/one $binary </tmp/tests
    else
        echo "failed 0 the list of its tests"
    fi
done </wharf/binaries
echo "done"
poweroff -f
