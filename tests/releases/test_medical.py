"""ISIC and ChestX in the forms in which they go round, made up in the names that they really have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import read_release

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]


class TestIsic:
    HEADER = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"

    def test_the_test_part_and_the_list_of_lesions(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(
            f"ISIC2018_Task3_{part}_Input/{name}.jpg"
            for part, name in (("Training", "A"), ("Training", "B"), ("Test", "C"))
        )
        files |= {
            "ISIC2018_Task3_Training_GroundTruth.csv": self.HEADER + "A,1,0,0,0,0,0,0\nB,0,1,0,0,0,0,0\n",
            "ISIC2018_Task3_Test_GroundTruth.csv": self.HEADER + "C,1,0,0,0,0,0,0\n",
            "ISIC2018_Task3_Training_LesionGroupings.csv": "image,lesion_id,diagnosis_confirm_type\nA,L1,x\nB,L1,x\n",
        }
        reading = read_release("isic", lay(files)).reading
        assert [(row.label, row.group) for row in reading.rows] == [("MEL", "L1"), ("NV", "L1")]
        assert reading.counts() == {"class_without_images": 5, "test_part": 1}

    def test_without_lesions_it_says_so(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(pictures(["A.jpg"]) | {"x_GroundTruth.csv": self.HEADER + "A,1,0,0,0,0,0,0\n"})
        assert any("no list of lesions" in remark for remark in read_release("isic", root).reading.remarks)

    @pytest.mark.parametrize(
        ("header", "year"),
        [("image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK", "2019"), ("image_id,melanoma,seborrheic_keratosis", "2017")],
    )
    def test_other_years_are_named(self, lay: Lay, pictures: Pictures, header: str, year: str) -> None:
        root = lay(pictures(["A.jpg"]) | {f"ISIC_{year}_Training_GroundTruth.csv": f"{header}\nA,1,0\n"})
        with pytest.raises(UsageError, match=f"is of ISIC {year}"):
            read_release("isic", root)

    def test_harvards_table_without_an_ending(self, lay: Lay, pictures: Pictures) -> None:
        table = "lesion_id\timage_id\tdx\nHAM_1\tISIC_1\tnv\nHAM_1\tISIC_2\tnv\nHAM_2\tISIC_3\thealthy\n"
        root = lay(pictures(f"HAM10000_images_part_1/ISIC_{i}.jpg" for i in (1, 2, 3)) | {"HAM10000_metadata": table})
        reading = read_release("ham10000", root).reading
        assert [(row.label, row.group) for row in reading.rows] == [("nv", "HAM_1")] * 2
        assert reading.counts() == {"class_without_images": 6, "other_class": 1}

    @pytest.mark.parametrize(
        ("name", "labels", "left"),
        [
            ("ham10000", ["nv"], {"class_without_images": 5, "test_part": 1}),
            ("isic", ["nv"], {"class_without_images": 5, "test_part": 1}),
            ("isic", ["NV"], {"class_without_images": 5, "test_part": 1}),
        ],
    )
    def test_the_test_part_in_the_columns_of_the_metadata(
        self, lay: Lay, pictures: Pictures, name: str, labels: list[str], left: dict[str, int]
    ) -> None:
        columns = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
        files = pictures(["ISIC_1.jpg", "ISIC_2.jpg"])
        files["ISIC2018_Task3_Test_GroundTruth.csv"] = columns + "HAMTEST_0,ISIC_2,mel,histo,40.0,male,back,x\n"
        if labels == ["NV"]:
            files["ISIC2018_Task3_Training_GroundTruth.csv"] = self.HEADER + "ISIC_1,0,1,0,0,0,0,0\n"
        else:
            files["HAM10000_metadata.csv"] = columns + "HAM_0,ISIC_1,nv,histo,40.0,male,back,x\n"
        root = lay(files)
        reading = read_release(name, root).reading
        assert [row.label for row in reading.rows] == labels
        assert reading.counts() == left
        assert len(read_release(name, root, whole=True).reading.rows) == 2

    def test_the_test_part_alone_is_nothing_of_the_release(self, lay: Lay, pictures: Pictures) -> None:
        table = "lesion_id,image_id,dx\nHAMTEST_0,ISIC_2,mel\n"
        root = lay(pictures(["ISIC_2.jpg"]) | {"ISIC2018_Task3_Test_GroundTruth.csv": table})
        with pytest.raises(UsageError, match=r"nothing of ISIC.*1 test_part"):
            read_release("isic", root)

    def test_folders_that_stand_there_twice(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(f"{folder}_part_1/ISIC_1.jpg" for folder in ("HAM10000_images", "ham10000_images"))
        reading = read_release(
            "ham10000", lay(files | {"HAM10000_metadata.csv": "lesion_id,image_id,dx\nH,ISIC_1,nv\n"})
        ).reading
        assert reading.per_class() == {"nv": 1}
        assert reading.counts() == {"class_without_images": 6, "nested_copy": 1}


class TestChestX:
    def test_twelve_folders_and_a_trailing_comma(self, lay: Lay, pictures: Pictures) -> None:
        header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        header += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        rows = ["Mass,0,7", "Pneumonia,0,8", "Mass|Nodule,0,7", "No Finding,0,9", "Mass,1,7"]
        tail = ",58,M,PA,2682,2749,0.143,0.143,\n"
        table = header + "".join(f"0000000{i}_000.png,{row}{tail}" for i, row in enumerate(rows))
        names = [f"images_{1 + i:03}/images/0000000{i}_000.png" for i in range(5)]
        reading = read_release("chestx", lay(pictures(names) | {"Data_Entry_2017.csv": table})).reading
        assert [(row.path, row.label, row.group) for row in reading.rows] == [
            (names[0], "Mass", "patient 7"),
            (names[4], "Mass", "patient 7"),
        ]
        assert reading.counts() == {"multi_label": 1, "no_finding": 1, "other_finding": 1}
