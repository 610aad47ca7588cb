"""Write sigmorphon2021.zip beside this file; without a source it is downloaded.

python data/sigmorphon2021/prepare.py [--source FOLDER_OR_ZIP]
"""

from pathlib import Path

from seqgen.cli.parse import script
from seqgen.data.archive import pack
from seqgen.data.download import Published, obtain

ADDRESS = "https://raw.githubusercontent.com/sigmorphon/2021-task1/main/data/"
CHECKSUMS = """
arm_e_train.tsv 2cfc0ded02151377cb6fa25cae112acb7f3c0d1d92d5479de19799687b0be8d2
arm_e_dev.tsv 151b26dd407836cbaea4110018a2090e6d627cb98ca5febcfe29bb48bec3bff1
arm_e_test.tsv 4b2301ef999b9f63d71b05825002a015ef4ce62b1dd56de924c78f237ebb5545
bul_train.tsv a0ad49ef705339bf7d7a301cf97cd33a5ab72743b4367914abe42c18ee835170
bul_dev.tsv f503124b83dff9ff2f248f39374bf7b8f93a915dafdee6c72f15f7bdf4317d01
bul_test.tsv b4a7d382bf94ca5f1b8e5d6c03f567b5837eb5272da67fab8aef1dcfe967450b
dut_train.tsv 08d327412cbf809a4cf894e015975d91588a38e8e05fb86450f42a4a38e534b8
dut_dev.tsv 77a896e9510b6ebc610a9bc6a1bf32a06bc85489e9056caf77d996bb107318aa
dut_test.tsv eb31a13e8f797f1bda23194689805c8ea0cd6960e86f739d1e818f1815c287ae
eng_us_train.tsv bbe76f57ee799ef9094b1ed1fecf8861e754ac57c6aa4db7d5b18892c5401f7f
eng_us_dev.tsv dcce99504c5f8a00ebf13499aa4d4c2b7fc37614b65127c98aa871855e77080e
eng_us_test.tsv 726192932a69a7197348ee64898613e94968234ce426cfc67d984baf5ddd317c
fre_train.tsv e9de4f5125d2478e50506c5ed278f69d5fb17d8d213f99f845305c24e28a55c2
fre_dev.tsv 3b42f14f318367dd94faa6d59e8fafabd845a3998800b6ce71a7c67e999490da
fre_test.tsv 6202c2b7b8d5fbd76a4d40373f9564a9946671dab617438b534bd47c64071c92
geo_train.tsv 0369d37ddd994ad7366f3c0bfd314d80f2e80f1795c5b461e76344f188944635
geo_dev.tsv 4a4127d579219a6a7a2079fef950c94543aa022ede1847b753c9e305c1f9e10f
geo_test.tsv 5f4ac16ace1fdb046ed9dbd99068d0bcfeed278f8c80cb91697ca7ef88c8f2d5
hbs_latn_train.tsv b4bf802445c2de3db73e20c2d6c51868e6c66ddb7abc64f5398469cf5c54e9c5
hbs_latn_dev.tsv 38b3ab21d522b0553e97d62784287cf62e29460360bec8f20b32bbb47b2a7cbc
hbs_latn_test.tsv 8d0bdc358b35ccaf1cc2068b5304d92a90768c7ac608c2bba8d632e90bfaffd8
hun_train.tsv cd6bea5ae552bc73a63abf459af5f41d27c1c276b4a15de49f1fffd23ee4d363
hun_dev.tsv a2892c27cf6d3075aacdd195c02bf34f8b509bcc08bb230b758d7978a7d920d0
hun_test.tsv e9ec4ba9c89808864e6518e529e21cda6fe51287ad7a5a1fc23668cc64f31159
jpn_hira_train.tsv caf113a16654dc778352c8c95867922fb0aa994c484b318f5aea66dc561ea85a
jpn_hira_dev.tsv f3f2f36db83b48032767dcf49c536a0e50fa076e48865fa75638262818c4ef70
jpn_hira_test.tsv d004af19a5f200303dee48f7399034bcfc1edbd9b750bee8f19f8cb0daf9a7f6
kor_train.tsv 0623be3d687864b534043585e50b1ac238b7d5564f1e7450b40be3df7329ff7c
kor_dev.tsv b1d22601f9b485f9b693dd82d832cb18695edb8a6a6ec6353d16ad729409b839
kor_test.tsv 341c4691b635f300822f89334d774023702eb64bf3d827562da25862de699ff2
vie_hanoi_train.tsv 8f2a60af78668db3c2c4d201938a822d7fc7808ffd64b12504723f3ff64fea4c
vie_hanoi_dev.tsv 5d56e7d14dc4d90758d2d4ba0c74f3531b4e05b5344346786e2a1b1b447093ca
vie_hanoi_test.tsv ed555cb71d164b1be52e72b5bd398fe5a787e1a598418498b67dcb1ab6fb439e
"""
PARTS = {"train": "train", "dev": "validation", "test": "test"}
"""A published part's name -> ours."""


def main(source: Path | None = None) -> None:
    """Get the files, check them, pack them, and print how many rows each language has."""
    found, rows = {}, dict[str, list[str]]()
    for line in CHECKSUMS.strip().splitlines():
        name, sha256 = line.split()
        folder = "high" if name.startswith("eng_us") else "medium"
        content = obtain(Published(name, f"{ADDRESS}{folder}/{name}", sha256), source)
        language, _, part = name.removesuffix(".tsv").rpartition("_")
        found[f"{language.partition('_')[0]}/{PARTS[part]}.tsv"] = content
        count = len(content.splitlines())
        rows.setdefault(language, []).append(f"{count:,} {PARTS[part]}")
    pack(Path(__file__).with_name("sigmorphon2021.zip"), found)
    for language, counts in rows.items():
        print(f"{language}: {', '.join(counts)}")


if __name__ == "__main__":
    script(main, __file__)
