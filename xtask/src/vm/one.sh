#!/bin/sh
# one BINARY TEST, or one PROGRAM: runs it in a process of its own and says how it ended, and what
# it said unless all is well.
LIMIT=120
log=/tmp/log.$$
group=/sys/fs/cgroup/test.$$
name=${2:-program}

now() { cut -d ' ' -f 1 /proc/uptime; }

tell() {
    case $code in
        0) verdict=passed ;;
        *) verdict=failed ;;
    esac
    if [ $verdict = passed ]; then
        grep -q '^test .* \.\.\. ignored' $log && verdict=ignored
        grep -i 'skipped: ' $log | head -n 1 | sed 's/.*[Ss][Kk][Ii][Pp][Pp][Ee][Dd]: /skipped /'
    else
        tail -n 60 $log | sed 's/^/| /'
        case $code in
            143 | 137) echo "| no end within $LIMIT s" ;;
            *) echo "| exit code $code" ;;
        esac
    fi
    echo "$verdict $took $name"
}

case $name in
    # Seconds are not those of any hardware here.
    timed_* | *::timed_*) echo 'skipped: it measures' >$log; code=0 took=0 ;;
    *_a_hundred_thousand_*) echo 'skipped: it takes half an hour here' >$log; code=0 took=0 ;;
    *)
        start=$(now)
        mkdir $group
        (
            echo 0 >$group/cgroup.procs
            exec timeout -k 5 $LIMIT "$1" ${2:+--exact "$2" --nocapture}
        ) >$log 2>&1 </dev/null
        code=$?
        # What it left must not make the next ones wait.
        echo 1 >$group/cgroup.kill
        took=$(echo "$start $(now)" | awk '{ printf "%.1f", $2 - $1 }')
        ;;
esac
# Several of these run at once, and what each says stays together.
tell >$log.told
until mkdir /tmp/telling 2>/dev/null; do sleep 0.02; done
cat $log.told
rmdir /tmp/telling
rm -f $log $log.told
