// nextflow run main.nf --input /shared/atlas.h5ad --prefix /shared/out/atlas --tasks 8, or with -profile slurm
// Slices a file in tasks, in two stages, and publishes the shards when all are done. Paths are absolute: tasks run in
// folders of their own, and shards wait beside the prefix until the end. --tasks is 2 or more.

params.input = null
params.prefix = null
params.options = '--size 10000 --shuffle --seed 0'
params.tasks = 8

process SCATTER {
    array params.tasks
    cpus 2
    memory '8 GB'
    errorStrategy 'retry'
    maxRetries 2

    input:
    val part

    output:
    val part

    script:
    """
    annslicer slice ${params.input} ${params.prefix} ${params.options} --part ${part}/${params.tasks} --stage scatter \
        --jobs ${task.cpus} --memory-limit ${(task.memory.toMega() * 0.85) as int}MB
    """
}

process GATHER {
    array params.tasks
    cpus 2
    memory '8 GB'
    errorStrategy 'retry'
    maxRetries 2

    input:
    val part
    val scattered

    output:
    val part

    script:
    """
    annslicer slice ${params.input} ${params.prefix} ${params.options} --part ${part}/${params.tasks} --stage gather \
        --jobs ${task.cpus} --memory-limit ${(task.memory.toMega() * 0.85) as int}MB
    """
}

process FINISH {
    memory '1 GB'

    input:
    val gathered

    script:
    """
    annslicer slice ${params.input} ${params.prefix} ${params.options} --manifest ${params.prefix}.json --finish
    """
}

workflow {
    if (!params.input || !params.prefix) {
        error 'Give --input and --prefix'
    }
    parts = channel.of(1..params.tasks.toInteger()) // from the command line it is text
    scattered = SCATTER(parts).collect()
    gathered = GATHER(parts, scattered).collect()
    FINISH(gathered)
}
